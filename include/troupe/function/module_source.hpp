// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Where the library of a module is: what a loader gives.
///
/// Layer: function.

#include <cstddef>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <troupe/base/shared_bytes.hpp>

namespace troupe {

/// A path, or the bytes themselves. A library at a path is looked at now and then, and loaded anew
/// when it has changed.
class module_source {
public:
  module_source(std::string path) : path_(std::move(path)) {}
  module_source(const char* path) : path_(path) {}
  module_source(const std::filesystem::path& path) : path_(path.string()) {}
  module_source(shared_bytes bytes) : bytes_(std::move(bytes)), is_path_(false) {}
  module_source(std::vector<std::byte> bytes) : module_source(shared_bytes(std::move(bytes))) {}

  /// Nothing: it is given as bytes.
  [[nodiscard]] const std::string* path() const noexcept { return is_path_ ? &path_ : nullptr; }
  /// Nothing: it is given as a path.
  [[nodiscard]] const shared_bytes* bytes() const noexcept { return is_path_ ? nullptr : &bytes_; }

private:
  std::string path_;
  shared_bytes bytes_;
  bool is_path_ = true;
};

}  // namespace troupe
