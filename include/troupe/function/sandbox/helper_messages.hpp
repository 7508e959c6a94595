// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What the host and its helper say to each other. The helper is our own program, and no code of a
/// module runs in it: both sides trust each other.
///
/// Layer: function. Linux.

#include <cstddef>
#include <cstdint>

namespace troupe::detail::sandbox {

/// How a program is told that it is to be a helper; its socket is `helper_socket` then.
inline constexpr const char* helper_argument = "--troupe-sandbox-helper";
inline constexpr int helper_socket = 3;

/// Start a child. With it come four descriptors: the host's file, the child's file, the event that
/// the child wakes the host by, and the module.
struct spawn_message {
  static constexpr std::size_t longest_path = 1024;

  std::uint64_t child;
  std::uint64_t memory;
  std::uint64_t module_size;
  std::uint32_t files;
  std::uint32_t network;
  std::uint32_t niceness;
  std::uint32_t reserved;
  std::uint32_t required;     // a sandbox_level
  std::uint32_t end;          // 1: end the child of that name instead; no descriptors come with it
  char source[longest_path];  // of what it may read, without symbolic links; empty: nothing
  char target[longest_path];  // where it finds it
};

enum class helper_says : std::uint32_t {
  hello = 1,  // level, and in code the version of the layout
  spawned,    // a pidfd comes with it
  not_spawned,
  exited  // code and status as in siginfo_t
};

struct helper_message {
  helper_says kind;
  std::uint32_t level;
  std::uint64_t child;
  std::int32_t code;
  std::int32_t status;
};

}  // namespace troupe::detail::sandbox
