// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// JSON as arguments and results of functions: for modules, and for hosts that trigger them.
///
/// Layer: adapter. Comes with json.hpp, which is included before `TROUPE_MODULE`.

#include <string>
#include <string_view>

#include <troupe/adapter/json/from_json.hpp>
#include <troupe/adapter/json/to_json.hpp>
#include <troupe/base/result.hpp>
#include <troupe/codec/limits.hpp>
#include <troupe/function/module_format.hpp>

namespace troupe::detail {

template <>
struct json_format<void> {
  template <class T>
  static result<T> read(std::string_view text, const decode_limits& limits) {
    return from_json<T>(text, limits);
  }
  template <class T>
  static std::string write(const T& value) {
    return to_json(value).dump();
  }
};

}  // namespace troupe::detail
