// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How much memory the process has, as the system counts it. Platform code.
///
/// Layer: broker.

#include <cstddef>

#if defined(__linux__)
#  include <fcntl.h>
#  include <unistd.h>
#elif defined(__APPLE__)
#  include <mach/mach.h>
#endif

namespace troupe {

/// The resident set of the process in bytes; 0 where the system does not tell (this asks Linux and
/// macOS). Falls late, or not at all, when memory is freed: allocators keep it.
[[nodiscard]] inline std::size_t resident_memory() noexcept {
#if defined(__linux__)
  const int file = ::open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  char text[64];
  const ::ssize_t length = ::read(file, text, sizeof text);
  ::close(file);
  // "<pages of the program> <pages resident> ..."
  std::size_t pages = 0;
  bool in_second = false;
  for (::ssize_t i = 0; i < length; ++i) {
    if (text[i] == ' ') {
      if (in_second) break;
      in_second = true;
    } else if (in_second) {
      pages = 10 * pages + static_cast<std::size_t>(text[i] - '0');
    }
  }
  return pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
#elif defined(__APPLE__)
  mach_task_basic_info info;
  mach_msg_type_number_t count = MACH_TASK_BASIC_INFO_COUNT;
  if (::task_info(mach_task_self(), MACH_TASK_BASIC_INFO, reinterpret_cast<task_info_t>(&info),
                  &count) != KERN_SUCCESS) {
    return 0;
  }
  return info.resident_size;
#else
  return 0;
#endif
}

}  // namespace troupe
