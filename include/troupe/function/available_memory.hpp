// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How much memory this process could still have, under all limits that hold for it.
///
/// Layer: function. Linux.

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace troupe::detail {

inline constexpr std::uint64_t no_memory_limit = (std::numeric_limits<std::uint64_t>::max)();

/// The beginning of a file of the system's; empty, where there is none.
inline std::string text_of_file(const std::string& path) {
  std::string text(8192, '\0');
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return {};
  const ::ssize_t length = ::read(file, text.data(), text.size());
  ::close(file);
  text.resize(length > 0 ? static_cast<std::size_t>(length) : 0);
  return text;
}

/// The number at the beginning of `text`.
inline std::optional<std::uint64_t> number_in(std::string_view text) noexcept {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return std::nullopt;
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, fault] = std::from_chars(text.data() + first, end, number);
  static_cast<void>(rest);
  if (fault != std::errc()) return std::nullopt;
  return number;
}

/// What follows `name` in a text of lines.
inline std::string_view line_after(std::string_view text, std::string_view name) noexcept {
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = (std::min)(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    if (line.starts_with(name)) return line.substr(name.size());
    at = end + 1;
  }
  return {};
}

/// What a control group leaves: its limit less what is used. Groups above it may allow less.
inline std::uint64_t left_in_group(const std::string& folder, const char* limit, const char* used) {
  std::uint64_t left = no_memory_limit;
  for (std::string at = folder;;) {
    const auto most = number_in(text_of_file(at + "/" + limit));
    const auto now = number_in(text_of_file(at + "/" + used));
    if (most && now) left = (std::min)(left, *most > *now ? *most - *now : 0);
    const std::size_t slash = at.rfind('/');
    if (slash == std::string::npos || at.size() <= std::string_view("/sys/fs/cgroup").size()) break;
    at.resize(slash);
  }
  return left;
}

inline std::uint64_t left_in_groups() {
  const std::string groups = text_of_file("/proc/self/cgroup");
  std::uint64_t left = no_memory_limit;
  const std::string_view second = line_after(groups, "0::");
  if (!second.empty()) {
    left = left_in_group("/sys/fs/cgroup" + std::string(second == "/" ? "" : second), "memory.max",
                         "memory.current");
  }
  for (std::size_t at = groups.find(":memory:"); at != std::string::npos;
       at = groups.find(":memory:", at + 1)) {
    const std::size_t begin = at + std::string_view(":memory:").size();
    const std::string path = groups.substr(begin, groups.find('\n', begin) - begin);
    left = (std::min)(left, left_in_group("/sys/fs/cgroup/memory" + (path == "/" ? "" : path),
                                          "memory.limit_in_bytes", "memory.usage_in_bytes"));
  }
  return left;
}

/// Bytes. Asks the system: not on a hot path.
inline std::uint64_t available_memory() {
  std::uint64_t left = left_in_groups();
  const auto free = number_in(line_after(text_of_file("/proc/meminfo"), "MemAvailable:"));
  if (free) left = (std::min)(left, *free * 1024);
  struct ::rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    const std::uint64_t page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    const std::uint64_t used = number_in(text_of_file("/proc/self/statm")).value_or(0) * page;
    const std::uint64_t most = limit.rlim_cur;
    left = (std::min)(left, most > used ? most - used : 0);
  }
  return left;
}

}  // namespace troupe::detail
