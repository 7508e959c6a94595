// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Sockets, and waiting for them: the one place of this adapter that knows the operating system.
///
/// Layer: adapter. POSIX. Nothing here blocks but `resolve` and `wait_for`.

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#if defined(__linux__)
#  include <sys/eventfd.h>
#endif

#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// What an attempt to read or write has come to.
struct redis_io {
  enum what : std::uint8_t {
    moved,        ///< `size` bytes.
    wants_read,   ///< Nothing, until there is something to read.
    wants_write,  ///< Nothing, until there is room to write.
    ended,        ///< The other side has closed the connection.
    failed        ///< `why` says how.
  };

  what outcome = moved;
  std::size_t size = 0;
  std::string why{};
};

inline std::string redis_system_text(int number) {
  return std::error_code(number, std::generic_category()).message();
}

/// Owns a descriptor, or none.
class redis_descriptor {
public:
  redis_descriptor() noexcept = default;
  explicit redis_descriptor(int number) noexcept : number_(number) {}
  redis_descriptor(redis_descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  redis_descriptor& operator=(redis_descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~redis_descriptor() {
    if (number_ >= 0) ::close(number_);
  }

  explicit operator bool() const noexcept { return number_ >= 0; }
  int get() const noexcept { return number_; }

private:
  int number_ = -1;
};

/// Where a server may be.
struct redis_address {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

/// The addresses of a host. Blocks as long as the system's resolver does, but not for numbers.
/// Throws `std::runtime_error`.
inline std::vector<redis_address> redis_resolve(const std::string& host, std::uint16_t port) {
  addrinfo wish{};
  wish.ai_socktype = SOCK_STREAM;
  wish.ai_flags = AI_NUMERICSERV;
  addrinfo* first = nullptr;
  const int failed = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &wish, &first);
  if (failed != 0) {
    throw std::runtime_error("the host " + host + " is not known: " + ::gai_strerror(failed));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> all(first, &::freeaddrinfo);
  std::vector<redis_address> found;
  for (const addrinfo* at = first; at != nullptr; at = at->ai_next) {
    redis_address& a = found.emplace_back();
    std::memcpy(&a.storage, at->ai_addr, at->ai_addrlen);
    a.size = at->ai_addrlen;
  }
  return found;
}

/// A connection that is being made, or is there.
class redis_socket {
public:
  redis_socket() noexcept = default;

  /// Begins to connect. Throws `std::system_error`.
  explicit redis_socket(const redis_address& to)
      : descriptor_(::socket(to.storage.ss_family, SOCK_STREAM, 0)) {
    if (!descriptor_) throw std::system_error(errno, std::generic_category(), "a socket");
    ::fcntl(get(), F_SETFD, FD_CLOEXEC);
    ::fcntl(get(), F_SETFL, O_NONBLOCK);
    const int on = 1;
    ::setsockopt(get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::setsockopt(get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
#if defined(SO_NOSIGPIPE)
    ::setsockopt(get(), SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
    const auto* const address = reinterpret_cast<const sockaddr*>(&to.storage);
    if (::connect(get(), address, to.size) != 0 && errno != EINPROGRESS && errno != EINTR) {
      throw std::system_error(errno, std::generic_category());
    }
  }

  explicit operator bool() const noexcept { return static_cast<bool>(descriptor_); }
  int get() const noexcept { return descriptor_.get(); }

  /// Once it can be written to: what has become of the attempt to connect; 0 or an errno.
  int connect_error() const noexcept {
    int number = 0;
    socklen_t size = sizeof number;
    if (::getsockopt(get(), SOL_SOCKET, SO_ERROR, &number, &size) != 0) return errno;
    return number;
  }

  redis_io read(char* into, std::size_t most) noexcept {
    for (;;) {
      const auto n = ::recv(get(), into, most, 0);
      if (n > 0) return {redis_io::moved, static_cast<std::size_t>(n)};
      if (n == 0) return {redis_io::ended};
      if (errno == EAGAIN || errno == EWOULDBLOCK) return {redis_io::wants_read};
      if (errno != EINTR) return {redis_io::failed, 0, redis_system_text(errno)};
    }
  }

  redis_io write(const std::string_view* parts, std::size_t count) noexcept {
    iovec views[most_parts];
    msghdr message{};
    message.msg_iov = views;
    for (std::size_t i = 0; i != count && i != most_parts; ++i) {
      views[i] = {const_cast<char*>(parts[i].data()), parts[i].size()};
      ++message.msg_iovlen;
    }
    for (;;) {
      const auto n = ::sendmsg(get(), &message, no_signal);
      if (n >= 0) return {redis_io::moved, static_cast<std::size_t>(n)};
      if (errno == EAGAIN || errno == EWOULDBLOCK) return {redis_io::wants_write};
      if (errno != EINTR) return {redis_io::failed, 0, redis_system_text(errno)};
    }
  }

  static constexpr std::size_t most_parts = 16;

private:
#if defined(MSG_NOSIGNAL)
  static constexpr int no_signal = MSG_NOSIGNAL;
#else
  static constexpr int no_signal = 0;
#endif

  redis_descriptor descriptor_;
};

/// Wakes a thread that waits in `wait_for`.
///
/// Thread safety: `ring` from any thread.
class redis_bell {
public:
  /// Throws `std::system_error`.
  redis_bell() {
#if defined(__linux__)
    read_ = redis_descriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!read_) throw std::system_error(errno, std::generic_category(), "an event descriptor");
#else
    int both[2];
    if (::pipe(both) != 0) throw std::system_error(errno, std::generic_category(), "a pipe");
    read_ = redis_descriptor(both[0]);
    write_ = redis_descriptor(both[1]);
    for (const int one : both) {
      ::fcntl(one, F_SETFD, FD_CLOEXEC);
      ::fcntl(one, F_SETFL, O_NONBLOCK);
    }
#endif
  }

  void ring() noexcept {
    const std::uint64_t one = 1;
    const int to = write_ ? write_.get() : read_.get();
    while (::write(to, &one, sizeof one) < 0 && errno == EINTR) {
    }
  }
  /// It has been heard.
  void clear() noexcept {
    char scrap[256];
    while (::read(read_.get(), scrap, sizeof scrap) == sizeof scrap) {
    }
  }
  int get() const noexcept { return read_.get(); }

private:
  redis_descriptor read_;
  redis_descriptor write_;  // none where one descriptor is both
};

/// Waits until one of them is ready, or `limit` has passed.
inline void redis_wait_for(pollfd* all, std::size_t count, duration limit) noexcept {
  constexpr duration longest = std::chrono::minutes(1);  // who waits looks again
  const duration capped = (std::clamp)(limit, duration::zero(), longest);
  const int timeout =
      static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(capped).count());
  if (::poll(all, static_cast<nfds_t>(count), timeout) > 0) return;
  for (std::size_t i = 0; i != count; ++i) all[i].revents = 0;
}

/// No signal is handled by the calling thread from now on: not the program's, and not the one for a
/// connection that nobody reads from any more.
inline void redis_block_signals() noexcept {
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

}  // namespace troupe::detail
