// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// JSON text from a stranger as a JSON value: bounded, and with every name once.
///
/// Layer: adapter.

#include <nlohmann/json.hpp>

#include <troupe/base/error.hpp>
#include <troupe/base/worker_id.hpp>
#include <troupe/codec/limits.hpp>

#include <cstddef>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace troupe::detail {

/// Told by a first look at the text what stands there; refuses what nests too deeply and names that
/// are there twice, of which the parser would keep the last. (The parser's own callbacks would do,
/// but look at all neighbours again whenever something ends.)
class json_guard final : public nlohmann::json::json_sax_t {
public:
  explicit json_guard(std::size_t depth) : depth_(depth) {}

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }

  bool start_object(std::size_t) override { return open(); }
  bool start_array(std::size_t) override { return open(); }
  bool end_object() override { return shut(); }
  bool end_array() override { return shut(); }

  bool key(string_t& name) override {
    if (!names_.back().insert(name).second) refuse(errc::bad_message, "a name is there twice");
    return true;
  }

  /// What the parser says may hold all of the text, which a stranger chose.
  bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception& e) override {
    constexpr std::size_t enough = 256;
    refuse(errc::bad_message, std::string(e.what()).substr(0, enough));
  }

private:
  /// An empty container counts as what stands around it: nothing is entered.
  bool open() {
    if (names_.size() > depth_) refuse(errc::too_large, "it nests too deeply");
    names_.emplace_back();
    return true;
  }
  bool shut() {
    names_.pop_back();
    return true;
  }

  [[noreturn]] static void refuse(errc code, std::string what) {
    throw error(code, worker_id{}, std::move(what));
  }

  const std::size_t depth_;
  std::vector<std::set<std::string>> names_;  // one for each open object and array
};

[[nodiscard]] inline nlohmann::json parse_json(std::string_view text, const decode_limits& limits) {
  if (text.size() > limits.size) {
    throw error(errc::too_large, worker_id{}, "the text is above the limit");
  }
  json_guard guard(limits.depth);
  static_cast<void>(nlohmann::json::sax_parse(text, &guard));
  return nlohmann::json::parse(text);
}

}  // namespace troupe::detail
