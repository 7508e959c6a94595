// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Where in a JSON value one is, for the texts of errors.
///
/// Layer: adapter. A list on the stack, from the inside out; allocates only to complain.

#include <troupe/base/error.hpp>
#include <troupe/base/worker_id.hpp>
#include <troupe/codec/memory_budget.hpp>
#include <troupe/config.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace troupe::detail {

class json_path {
public:
  /// The place of the whole value. Of the memory that its containers take, `memory`, which may be
  /// null, keeps count, and outlives the path.
  explicit json_path(std::size_t depth, memory_budget* memory = nullptr) noexcept
      : memory_(memory), depth_(depth) {}

  /// A place one level below `above`, which outlives it.
  json_path(const json_path& above, std::string_view name) : json_path(above, name, 0) {}
  json_path(const json_path& above, std::size_t index) : json_path(above, {}, index) {}

  /// What lies one level below in C++, and at the same place in JSON: in an optional, in a hook.
  [[nodiscard]] static json_path within(const json_path& above) { return {above, {}, same_place}; }

  /// Asks for what a container of `count` elements takes, before it is allocated.
  template <class T>
  void take_elements(std::size_t count) const {
    if (memory_ != nullptr && !memory_->take_elements<T>(count)) {
      fail(memory_budget::exceeded, errc::too_large);
    }
  }

  [[noreturn]] TROUPE_COLD void fail(std::string_view what, errc code = errc::bad_message) const {
    throw error(code, worker_id{}, to_text() + ": " + std::string(what));
  }

private:
  static constexpr std::size_t same_place = static_cast<std::size_t>(-1);

  json_path(const json_path& above, std::string_view name, std::size_t index)
      : above_(&above), name_(name), index_(index), memory_(above.memory_), depth_(above.depth_) {
    if (depth_ == 0) above.fail("it nests too deeply", errc::too_large);
    --depth_;
  }

  [[nodiscard]] std::string to_text() const {
    if (above_ == nullptr) return "$";
    if (index_ == same_place) return above_->to_text();
    if (name_.data() == nullptr) return above_->to_text() + "[" + std::to_string(index_) + "]";
    constexpr std::size_t enough = 64;  // a stranger chose it
    return above_->to_text() + "." + std::string(name_.substr(0, enough));
  }

  const json_path* above_ = nullptr;
  std::string_view name_;
  std::size_t index_ = 0;
  memory_budget* memory_;
  std::size_t depth_;  // levels that may still be entered
};

}  // namespace troupe::detail
