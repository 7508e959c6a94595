// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Why a process has ended, in words.
///
/// Layer: function. POSIX.

#include <csignal>
#include <string>

#include <sys/wait.h>

namespace troupe::detail::sandbox {

/// The names of signals that processes die of; "signal 63" for others.
inline std::string name_of_signal(int number) {
  struct name {
    int number;
    const char* text;
  };
  static constexpr name names[] = {
      {SIGSEGV, "SIGSEGV"}, {SIGABRT, "SIGABRT"}, {SIGBUS, "SIGBUS"},   {SIGFPE, "SIGFPE"},
      {SIGILL, "SIGILL"},   {SIGKILL, "SIGKILL"}, {SIGTERM, "SIGTERM"}, {SIGTRAP, "SIGTRAP"},
      {SIGPIPE, "SIGPIPE"}, {SIGXCPU, "SIGXCPU"}, {SIGXFSZ, "SIGXFSZ"}, {SIGSYS, "SIGSYS"},
      {SIGINT, "SIGINT"},   {SIGHUP, "SIGHUP"},   {SIGALRM, "SIGALRM"}};
  for (const name& one : names) {
    if (one.number == number) return one.text;
  }
  return "signal " + std::to_string(number);
}

/// `code` and `status` as in siginfo_t.
inline std::string exit_reason(int code, int status, bool out_of_memory) {
  std::string text;
  if (code == CLD_EXITED) {
    text = "its process exited with " + std::to_string(status);
  } else if (status == SIGSYS) {
    text = "it made a forbidden system call (killed by SIGSYS)";
  } else if (status == SIGXFSZ) {
    text = "it wrote to a file (killed by SIGXFSZ)";
  } else if (status == SIGKILL) {
    text = "its process was killed by SIGKILL: by somebody else, or for want of memory";
  } else {
    text = "its process was killed by " + name_of_signal(status);
  }
  if (out_of_memory && status != SIGSYS) text += ", after it had run into its memory limit";
  return text;
}

}  // namespace troupe::detail::sandbox
