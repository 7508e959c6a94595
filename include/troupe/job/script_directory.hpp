// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `script_directory`: scripts that are shared libraries in a folder. Linux.
///
/// Layer: job. A module of function/ for each; the folder is read once, and no name that comes from
/// elsewhere becomes part of a path.

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <troupe/base/error.hpp>
#include <troupe/base/scope_exit.hpp>
#include <troupe/base/shared_bytes.hpp>
#include <troupe/broker/broker.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/function/function_host.hpp>
#include <troupe/function/function_options.hpp>
#include <troupe/function/module_error.hpp>
#include <troupe/job/job_context.hpp>
#include <troupe/job/job_failure.hpp>
#include <troupe/job/workspace.hpp>
#include <troupe/net/job_store.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe {
namespace detail {

/// Small numbers that nobody else has at the time. Beyond 256 one may be had by several.
class lent_numbers {
public:
  std::uint32_t take() noexcept {
    const spin_guard guard(lock_);
    for (std::uint32_t i = 0; i != words; ++i) {
      if (taken_[i] == ~std::uint64_t{0}) continue;
      const auto bit = static_cast<std::uint32_t>(std::countr_one(taken_[i]));
      taken_[i] |= std::uint64_t{1} << bit;
      return i * 64 + bit;
    }
    return words * 64;
  }
  void give_back(std::uint32_t n) noexcept {
    if (n == words * 64) return;
    const spin_guard guard(lock_);
    taken_[n / 64] &= ~(std::uint64_t{1} << n % 64);
  }

private:
  static constexpr std::uint32_t words = 4;
  spin_lock lock_;
  std::uint64_t taken_[words] = {};
};

/// One library, and who calls it.
struct module_script {
  function_host& functions;
  const std::string module;
  const std::string version;
  mutable lent_numbers workers = {};

  static task<shared_bytes> run(const void* known, const shared_bytes& params, job_context&) {
    const auto& self = *static_cast<const module_script*>(known);
    const std::uint32_t number = self.workers.take();
    const scope_exit leave([&]() noexcept { self.workers.give_back(number); });
    const std::string key = std::to_string(number);
    auto call = self.functions.trigger({.module = self.module,
                                        .version = self.version,
                                        .func = "run",
                                        .payload = params,
                                        .key = key});
    try {
      co_return co_await std::move(call);
    } catch (const error& e) {
      // It has not run, and never will with these.
      if (e.code() == errc::bad_message) throw unreadable_params(e.what());
      throw;
    } catch (const module_error& e) {
      throw foreign_failure(std::string(e.type()), e.what());
    }
  }
};

/// What stands in `<name>-<version>.so`; nothing: another file.
inline std::optional<job_script> script_of_file(const std::filesystem::path& file) {
  const std::string stem = file.stem().string();
  const std::size_t dash = stem.rfind('-');
  if (file.extension() != ".so" || dash == std::string::npos) return std::nullopt;
  job_script s;
  s.name = stem.substr(0, dash);
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  };
  if (s.name.empty() || !std::all_of(s.name.begin(), s.name.end(), is_plain)) return std::nullopt;
  const char* const from = stem.data() + dash + 1;
  const char* const end = stem.data() + stem.size();
  const std::from_chars_result read = std::from_chars(from, end, s.version);
  if (read.ec != std::errc() || read.ptr != end || *from == '0') return std::nullopt;
  return s;
}

}  // namespace detail

/// Each regular file `<script>-<version>.so` in a folder is a script: `add-1.so` is version 1 of
/// `add`. It is a module (docs/functions.md) of that name and version,
///
///     struct add { int run(int a, int b) { return a + b; } };
///     TROUPE_METHODS(add, run)
///     TROUPE_MODULE(add, "1");
///
/// whose function `run` is what the script does. Clients know it by a declaration, whose `params`
/// are a tuple of the parameters:
///
///     struct add { using params = std::tuple<int, int>; using result = int; };
///     scripts.declare<add>();
///
/// As many jobs of one script run at once as instruments have room for, in workers of the module,
/// which keep their state from one job to the next. One that crashes is a crash of its job.
///
/// The folder is read once; other files, links and folders are passed over. Outlives all
/// instruments whose workspace has its scripts. Its destructor blocks as that of `function_host`.
class script_directory {
public:
  /// Throws `std::filesystem::filesystem_error` where the folder cannot be read.
  script_directory(broker& b, const std::filesystem::path& folder,
                   const function_host_options& options = {})
      : functions_(b, options) {
    for (const std::filesystem::directory_entry& file :
         std::filesystem::directory_iterator(folder)) {
      if (file.is_symlink() || !file.is_regular_file()) continue;
      const std::optional<job_script> s = detail::script_of_file(file.path());
      if (s) files_.try_emplace({s->name, std::to_string(s->version)}, file.path());
    }
    functions_.define_loader([this](std::string_view module, std::string_view version) {
      return files_.at({std::string(module), std::string(version)});
    });
  }
  script_directory(const script_directory&) = delete;
  script_directory& operator=(const script_directory&) = delete;

  /// What may be said of modules beside: where one runs, what it may.
  [[nodiscard]] function_host& modules() noexcept { return functions_; }

  /// Puts all of them into `w`. Throws as `workspace::add`.
  void add_to(workspace& w) {
    for (const auto& [key, file] : files_) {
      const std::shared_ptr<const void> known(
          new detail::module_script{functions_, key.first, key.second});
      job_script s;
      s.name = key.first;
      s.version = static_cast<std::uint32_t>(std::stoul(key.second));
      w.put(std::move(s), detail::script_runner(&detail::module_script::run, known));
    }
  }

private:
  std::map<std::pair<std::string, std::string>, std::filesystem::path> files_;
  function_host functions_;  // last: ends while the files are still known
};

}  // namespace troupe
