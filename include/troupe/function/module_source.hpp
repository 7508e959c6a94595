// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Where the library of a module is: what a loader gives.
///
/// Layer: function.

#include <filesystem>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <troupe/base/shared_bytes.hpp>

namespace troupe {

/// A path, or the bytes themselves. A library at a path is looked at now and then, and loaded anew
/// when it has changed.
class module_source {
public:
  module_source(std::string path) : what_(std::move(path)) {}
  module_source(const char* path) : what_(std::string(path)) {}
  module_source(const std::filesystem::path& path) : what_(path.string()) {}
  module_source(shared_bytes bytes) : what_(std::move(bytes)) {}
  module_source(std::vector<std::byte> bytes) : what_(shared_bytes(std::move(bytes))) {}

  /// Nothing: it is given as bytes.
  [[nodiscard]] const std::string* path() const noexcept {
    return std::get_if<std::string>(&what_);
  }
  /// Nothing: it is given as a path.
  [[nodiscard]] const shared_bytes* bytes() const noexcept {
    return std::get_if<shared_bytes>(&what_);
  }

private:
  std::variant<std::string, shared_bytes> what_;
};

}  // namespace troupe
