// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A child closes the sandbox around itself, before anything of the module is there.
///
/// Layer: function. Linux. Runs in a process of one thread, which the helper has forked.
///
/// What the kernel refuses is left out and missing in the level; whether that is enough is for
/// whoever has asked for the child to say. The order is forced: mounts need the capabilities, a new
/// user namespace needs a root that is the root of its mounts, landlock and the filter need
/// no_new_privs, and the filter forbids all of it.

#include <cstdint>
#include <string>

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <troupe/function/sandbox/landlock.hpp>
#include <troupe/function/sandbox/level.hpp>
#include <troupe/function/sandbox/seccomp.hpp>

namespace troupe::detail::sandbox {

/// The descriptors of a child: three of /dev/null, the event that wakes the host, and, until it is
/// loaded, the module.
inline constexpr int child_event = 3;
inline constexpr int child_module = 4;

/// What a child is to be.
struct confinement {
  const char* root = "";    ///< The directory that becomes its root; empty: there is none.
  const char* source = "";  ///< A directory of the old root that it may read; empty: none.
  const char* target = "";  ///< Where it finds it: there is an empty directory in the new root.
  int niceness = 0;         ///< Others go first: 0, not at all, to 19.
  bool network = false;
  bool change_user = false;         ///< The helper is root, and nobody is to run.
  std::uint64_t memory = 0;         ///< Bytes of private memory, all in all; 0: no limit.
  std::uint64_t address_space = 0;  ///< Bytes of addresses; 0: no limit.
  std::uint32_t descriptors = 0;    ///< Numbers below this one.
};

inline constexpr unsigned nobody = 65534;

/// Where the helper keeps the root that it came from, for what modules may read of it.
inline constexpr const char* old_root = "/old";

inline void limit(int what, std::uint64_t value) noexcept {
  const rlimit both{static_cast<rlim_t>(value), static_cast<rlim_t>(value)};
  static_cast<void>(::setrlimit(static_cast<__rlimit_resource_t>(what), &both));
}

/// A mount namespace whose root holds the module and what it may read.
inline bool enter_root(const confinement& wish) {
  if (wish.root[0] == 0 || ::unshare(CLONE_NEWNS) != 0) return false;
  if (::mount(nullptr, "/", nullptr, MS_PRIVATE | MS_REC, nullptr) != 0) return false;
  if (::mount(wish.root, wish.root, nullptr, MS_BIND, nullptr) != 0) return false;
  constexpr unsigned long read_only = MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV;
  if (wish.source[0] != 0) {
    const std::string source = std::string(old_root) + wish.source;
    const std::string target = std::string(wish.root) + wish.target;
    if (::mount(source.c_str(), target.c_str(), nullptr, MS_BIND, nullptr) != 0) return false;
    if (::mount(nullptr, target.c_str(), nullptr, read_only | MS_NOEXEC, nullptr) != 0) {
      return false;
    }
  }
  if (::chdir(wish.root) != 0) return false;
  if (::mount(nullptr, ".", nullptr, read_only, nullptr) != 0) return false;
  // The new root is put over the old one, and the old one is taken away from below it.
  if (::syscall(SYS_pivot_root, ".", ".") != 0) return false;
  return ::umount2(".", MNT_DETACH) == 0 && ::chdir("/") == 0;
}

inline void enter_namespaces(const confinement& wish, sandbox_level& level) {
  if (::unshare(CLONE_NEWIPC) == 0) level = level | sandbox_part::ipc_namespace;
  if (!wish.network && ::unshare(CLONE_NEWNET) == 0) {
    level = level | sandbox_part::network_namespace;
  }
  static_cast<void>(::unshare(CLONE_NEWUTS));
  static_cast<void>(::unshare(CLONE_NEWCGROUP));
  if (enter_root(wish)) level = level | sandbox_part::empty_root | sandbox_part::no_foreign_files;
}

inline bool become_nobody() noexcept {
  return ::setgroups(0, nullptr) == 0 && ::setresgid(nobody, nobody, nobody) == 0 &&
         ::setresuid(nobody, nobody, nobody) == 0;
}

inline bool drop_capabilities() noexcept {
  int one = 0;
  while (::prctl(PR_CAPBSET_DROP, one, 0, 0, 0) == 0) ++one;
  static_cast<void>(::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
  __user_cap_header_struct head{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2] = {};
  return ::syscall(SYS_capset, &head, none) == 0;
}

/// From where the helper is, and so the host. What `nice` returns may be any number.
inline void give_way(int by) noexcept {
  const int now = ::nice(by);
  static_cast<void>(now);
}

inline void set_limits(const confinement& wish) noexcept {
  if (wish.niceness != 0) give_way(wish.niceness);
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_FSIZE, 0);
  limit(RLIMIT_MEMLOCK, 0);
  limit(RLIMIT_MSGQUEUE, 0);
  limit(RLIMIT_NPROC, 0);
  limit(RLIMIT_STACK, std::uint64_t{8} << 20);
  if (wish.descriptors != 0) limit(RLIMIT_NOFILE, wish.descriptors);
  if (wish.memory != 0) limit(RLIMIT_DATA, wish.memory);
  if (wish.address_space != 0) limit(RLIMIT_AS, wish.address_space);
}

/// Files and network by landlock.
inline void enter_landlock(const confinement& wish, const char* module, sandbox_level& level) {
  landlock rules;
  if (!rules.begin(wish.network)) return;
  // A module that is only in memory needs no rule.
  if (level.has(sandbox_part::empty_root) && module != nullptr) {
    static_cast<void>(rules.may_read(module, false));
  }
  const bool in_root = level.has(sandbox_part::empty_root);
  if (wish.source[0] != 0) {
    static_cast<void>(rules.may_read(in_root ? wish.target : wish.source, true));
  }
  static_cast<void>(rules.restrict_self(level));
}

/// Closes everything but the filter of system calls; returns what is in force.
inline sandbox_level confine(const confinement& wish, const char* module) {
  sandbox_level level = sandbox_part::own_process;
  enter_namespaces(wish, level);
  if (wish.change_user && become_nobody()) level = level | sandbox_part::other_user;
  if (::unshare(CLONE_NEWUSER) == 0) level = level | sandbox_part::user_namespace;
  if (drop_capabilities()) level = level | sandbox_part::no_capabilities;
  set_limits(wish);
  if (wish.memory != 0) level = level | sandbox_part::limits;
  // A change of the user has cleared it; the helper is the init process of its children's
  // namespace, where there is one, and they end with it in any case.
  static_cast<void>(::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
  static_cast<void>(::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0) {
    level = level | sandbox_part::no_new_privileges;
    enter_landlock(wish, module, level);
  }
  return level;
}

/// The parts that a permission takes away, which nobody can ask for then.
[[nodiscard]] constexpr sandbox_level without_permitted(sandbox_level wanted,
                                                        bool network) noexcept {
  if (!network) return wanted;
  return wanted - (sandbox_part::network_namespace | sandbox_part::landlock_network);
}

}  // namespace troupe::detail::sandbox
