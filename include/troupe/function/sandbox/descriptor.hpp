// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// File descriptors: who owns one, and how they go from one process to another.
///
/// Layer: function. Linux.

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

namespace troupe::detail::sandbox {

/// Owns a descriptor, or none. Closes it when destroyed.
class descriptor {
public:
  descriptor() noexcept = default;
  explicit descriptor(int number) noexcept : number_(number) {}
  descriptor(descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  descriptor& operator=(descriptor&& other) noexcept {
    if (this != &other) reset(std::exchange(other.number_, -1));
    return *this;
  }
  ~descriptor() { reset(); }

  explicit operator bool() const noexcept { return number_ >= 0; }
  int get() const noexcept { return number_; }
  int release() noexcept { return std::exchange(number_, -1); }

  void reset(int number = -1) noexcept {
    const int old = std::exchange(number_, number);
    if (old >= 0) ::close(old);
  }

private:
  int number_ = -1;
};

/// Closes those that /proc lists from `first` on. False: it cannot be asked.
inline bool close_listed(int first) noexcept {
  DIR* const directory = ::opendir("/proc/self/fd");
  if (directory == nullptr) return false;
  while (const dirent* const entry = ::readdir(directory)) {
    const int number = std::atoi(entry->d_name);
    if (number >= first && number != ::dirfd(directory)) ::close(number);
  }
  ::closedir(directory);
  return true;
}

/// Closes all from `first` on that the process could have opened under its limit. False: there may
/// be too many to try.
inline bool close_counted(int first) noexcept {
  constexpr rlim_t most = rlim_t{1} << 20;
  rlimit both{};
  if (::getrlimit(RLIMIT_NOFILE, &both) != 0 || both.rlim_cur > most) return false;
  for (int number = first; number < static_cast<int>(both.rlim_cur); ++number) ::close(number);
  return true;
}

/// Closes all descriptors from `first` on, also where the kernel, or a filter around this process,
/// does not know how to in one call. False: some may be open still.
inline bool close_from(int first) noexcept {
#if defined(SYS_close_range)
  if (::syscall(SYS_close_range, static_cast<unsigned>(first), ~0U, 0U) == 0) return true;
#endif
  return close_listed(first) || close_counted(first);
}

/// The most descriptors that one message carries.
inline constexpr std::size_t descriptors_per_message = 4;

union descriptor_room {
  cmsghdr head;
  char bytes[CMSG_SPACE(descriptors_per_message * sizeof(int))];
};

/// Sends one message whole, with `count` descriptors, or nothing. Returns 0 or an errno.
inline int send_message(int socket, const void* data, std::size_t size, const int* descriptors,
                        std::size_t count) noexcept {
  iovec part{const_cast<void*>(data), size};
  descriptor_room room{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (count != 0) {
    message.msg_control = room.bytes;
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    cmsghdr* const head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(count * sizeof(int));
    std::memcpy(CMSG_DATA(head), descriptors, count * sizeof(int));
  }
  ::ssize_t sent = 0;
  do {
    sent = ::sendmsg(socket, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent < 0 ? errno : 0;
}

/// What has come of a message.
struct received {
  ::ssize_t size = -1;  ///< Bytes; 0: the other side is gone; -1: see `error`.
  int error = 0;
  descriptor descriptors[descriptors_per_message];
};

/// Receives one message. Those descriptors that come with it are closed when programs are started.
inline received receive_message(int socket, void* data, std::size_t size, int flags) noexcept {
  received got;
  iovec part{data, size};
  descriptor_room room{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = room.bytes;
  message.msg_controllen = sizeof room.bytes;
  do {
    got.size = ::recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
  } while (got.size < 0 && errno == EINTR);
  if (got.size < 0) {
    got.error = errno;
    return got;
  }
  for (cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr;
       head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i != count && i != descriptors_per_message; ++i) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(head) + i * sizeof(int), sizeof number);
      got.descriptors[i].reset(number);
    }
  }
  return got;
}

}  // namespace troupe::detail::sandbox
