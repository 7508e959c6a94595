// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What the tests of this folder share: where the modules are, and what the process holds.

#include <dirent.h>
#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe.hpp>
#include <troupe/function.hpp>

#include "support/catch.hpp"

namespace functions_kit {

inline std::string module_path(std::string_view file) {
  return std::string(TROUPE_TEST_MODULES) + "/" + std::string(file) + ".so";
}

inline std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

/// A folder of its own, gone with this object.
class folder {
public:
  folder() {
    std::string name = (std::filesystem::temp_directory_path() / "troupe-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  folder(const folder&) = delete;
  folder& operator=(const folder&) = delete;
  ~folder() { std::filesystem::remove_all(path_); }

  std::string operator/(std::string_view file) const {
    return (path_ / std::string(file)).string();
  }
  /// A file with that in it, written aside and moved into its place.
  std::string put(std::string_view file, const std::string& bytes) const {
    const std::string path = *this / file;
    std::ofstream(path + ".new", std::ios::binary) << bytes;
    std::filesystem::rename(path + ".new", path);
    return path;
  }

private:
  std::filesystem::path path_;
};

inline std::size_t entries_of(const char* path) {
  std::size_t count = 0;
  ::DIR* const all = ::opendir(path);
  if (all == nullptr) return 0;
  while (::readdir(all) != nullptr) ++count;
  ::closedir(all);
  return count;
}
inline std::size_t open_files() { return entries_of("/proc/self/fd"); }
inline std::size_t threads() { return entries_of("/proc/self/task"); }

/// Mappings of libraries of modules.
inline std::size_t mapped_modules() {
  std::ifstream maps("/proc/self/maps");
  std::size_t count = 0;
  for (std::string line; std::getline(maps, line);) {
    if (line.find("memfd:troupe-module") != std::string::npos) ++count;
  }
  return count;
}

inline troupe::function_host_options in_process() {
  troupe::function_host_options options;
  options.kept = troupe::isolation::in_process;
  return options;
}

/// Finds "<module>-<version>.so" among the tests' modules.
inline void load_from_tests(troupe::function_host& host) {
  host.define_loader([](std::string_view module, std::string_view version) {
    return module_path(std::string(module) + "-" + std::string(version));
  });
}

inline constexpr troupe::function_request mean_v1{
    .module = "calculator", .version = "v1.0.0", .func = "mean"};

inline troupe::function_request of_calculator(std::string_view function) {
  return {.module = "calculator", .version = "v1.0.0", .func = function};
}

/// The error that awaiting `t` ends with.
template <class T>
troupe::task<troupe::error> error_of(T call) {
  try {
    static_cast<void>(co_await std::move(call));
  } catch (const troupe::error& e) {
    co_return e;
  }
  throw std::logic_error("it did not fail");
}
inline bool is(const troupe::error& e, troupe::errc code) {
  return e.code() == troupe::make_error_code(code);
}

}  // namespace functions_kit
