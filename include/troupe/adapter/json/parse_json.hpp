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

/// Told by the parser what it meets; refuses what nests too deeply and names that are there twice,
/// of which the parser would keep the last.
class json_guard {
public:
  explicit json_guard(std::size_t depth) : depth_(depth) {}

  bool operator()(int, nlohmann::json::parse_event_t event, const nlohmann::json& parsed) {
    using met = nlohmann::json::parse_event_t;
    if (event == met::object_start || event == met::array_start) {
      if (names_.size() == depth_) refuse(errc::too_large, "it nests too deeply");
      names_.emplace_back();
    } else if (event == met::object_end || event == met::array_end) {
      names_.pop_back();
    } else if (event == met::key && !names_.back().insert(parsed).second) {
      refuse(errc::bad_message, "a name is there twice");
    }
    return true;
  }

private:
  [[noreturn]] static void refuse(errc code, const char* what) {
    throw error(code, worker_id{}, what);
  }

  std::size_t depth_;
  std::vector<std::set<std::string>> names_;  // one for each open object and array
};

[[nodiscard]] inline nlohmann::json parse_json(std::string_view text, const decode_limits& limits) {
  if (text.size() > limits.size) {
    throw error(errc::too_large, worker_id{}, "the text is above the limit");
  }
  try {
    json_guard guard(limits.depth);
    return nlohmann::json::parse(
        text, [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
          return guard(depth, event, parsed);
        });
  } catch (const nlohmann::json::exception& e) {
    throw error(errc::bad_message, worker_id{}, e.what());
  }
}

}  // namespace troupe::detail
