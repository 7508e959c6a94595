// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The helper, as its host sees it: a process at the other end of a socket.
///
/// Layer: function. Linux.

#include <cerrno>
#include <csignal>
#include <string>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <troupe/function/sandbox/descriptor.hpp>
#include <troupe/function/sandbox/exit_reason.hpp>
#include <troupe/function/sandbox/helper_messages.hpp>

namespace troupe::detail::sandbox {

/// Owns the process: it ends with this.
///
/// Thread safety: none.
class helper_process {
public:
  helper_process() noexcept = default;

  /// Starts `program` with nothing of this process but its socket. Throws `std::system_error`.
  explicit helper_process(const std::string& program);

  helper_process(helper_process&&) noexcept = default;
  helper_process& operator=(helper_process&& other) noexcept {
    if (this != &other) {
      static_cast<void>(end());
      socket_ = std::move(other.socket_);
      process_ = std::move(other.process_);
    }
    return *this;
  }
  ~helper_process() { static_cast<void>(end()); }

  explicit operator bool() const noexcept { return static_cast<bool>(socket_); }
  int socket() const noexcept { return socket_.get(); }

  /// Ends it, with all of its children. Returns why it had ended, if it had.
  std::string end() noexcept;

private:
  descriptor socket_;
  descriptor process_;  // a pidfd
};

/// What is set up for the new process between its fork and its start.
class spawn_setup {
public:
  spawn_setup(int socket) {
    if (::posix_spawn_file_actions_init(&files_) != 0) throw std::bad_alloc();
    if (::posix_spawnattr_init(&attributes_) != 0) {
      ::posix_spawn_file_actions_destroy(&files_);
      throw std::bad_alloc();
    }
    ::posix_spawn_file_actions_adddup2(&files_, socket, helper_socket);
    sigset_t none;
    sigset_t all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setsigdefault(&attributes_, &all);
    // A group of its own: what a terminal sends to the host is for the host.
    ::posix_spawnattr_setpgroup(&attributes_, 0);
    ::posix_spawnattr_setflags(
        &attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  }
  spawn_setup(const spawn_setup&) = delete;
  spawn_setup& operator=(const spawn_setup&) = delete;
  ~spawn_setup() {
    ::posix_spawn_file_actions_destroy(&files_);
    ::posix_spawnattr_destroy(&attributes_);
  }

  /// Returns the number of the process; or throws.
  ::pid_t spawn(const std::string& program) {
    std::string name = program;
    std::string argument = helper_argument;
    char* arguments[] = {name.data(), argument.data(), nullptr};
    char* environment[] = {nullptr};
    ::pid_t number = -1;
    const int error =
        ::posix_spawn(&number, program.c_str(), &files_, &attributes_, arguments, environment);
    if (error != 0) throw std::system_error(error, std::generic_category(), program);
    return number;
  }

private:
  posix_spawn_file_actions_t files_;
  posix_spawnattr_t attributes_;
};

inline helper_process::helper_process(const std::string& program) {
  int both[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, both) != 0) {
    throw std::system_error(errno, std::generic_category(), "socketpair");
  }
  socket_.reset(both[0]);
  const descriptor theirs(both[1]);
  const ::pid_t number = spawn_setup(theirs.get()).spawn(program);
  // Nobody has waited for it yet, so the number is still its own.
  process_.reset(static_cast<int>(::syscall(SYS_pidfd_open, number, 0U)));
}

inline std::string helper_process::end() noexcept {
  if (!socket_) return {};
  socket_.reset();  // it ends when it sees that
  if (!process_) return {};
  ::pollfd gone{process_.get(), POLLIN, 0};
  constexpr int patience = 2000;  // milliseconds
  while (::poll(&gone, 1, patience) < 0 && errno == EINTR) {
  }
  if (gone.revents == 0) {
    static_cast<void>(::syscall(SYS_pidfd_send_signal, process_.get(), SIGKILL, nullptr, 0U));
  }
  siginfo_t about{};
  int status = 0;
  do {
    status = ::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<::id_t>(process_.get()), &about,
                      WEXITED);
  } while (status != 0 && errno == EINTR);
  process_.reset();
  try {
    return status == 0 ? exit_reason(about.si_code, about.si_status, false) : std::string();
  } catch (...) {
    return {};
  }
}

}  // namespace troupe::detail::sandbox
