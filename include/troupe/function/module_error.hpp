// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `module_error`: an exception that a module's method has thrown, as its caller gets it.
///
/// Layer: function.

#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>

namespace troupe {

/// Exceptions do not cross from one library or process to another: what crosses is the name of the
/// class and what it says. (What a method throws as a `troupe::error` arrives as one.)
///
/// Copying does not throw. `what()` is that of the original.
class module_error : public std::runtime_error {
public:
  module_error(std::string_view type, std::string_view what)
      : std::runtime_error(std::string(what)), type_(std::string(type)) {}

  /// The name of the class that was thrown, as `std::out_of_range`.
  [[nodiscard]] std::string_view type() const noexcept { return type_.what(); }

private:
  std::runtime_error type_;  // a text that can be copied without memory
};

}  // namespace troupe
