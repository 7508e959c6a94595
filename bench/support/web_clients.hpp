// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Thousands of clients of a web server, in a process of their own, which does what it is told over
/// a pair of sockets. Linux. It knows what the server answers, and is as cheap as that allows.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace bench {

inline std::int64_t now_ns() {
  return std::chrono::steady_clock::now().time_since_epoch().count();  // of the machine
}

/// In the process of the clients.
class client_side {
public:
  explicit client_side(int orders) : orders_(orders) {}

  struct order {
    char what = 0;
    int port = 0;
    int number = 0;
    int other = 0;
    double seconds = 0;
    char target[64] = {};
    char text[64] = {};
  };
  struct reply {
    double a = 0, b = 0, c = 0;
  };

  void run() {
    order o;
    while (::recv(orders_, &o, sizeof o, 0) == sizeof o) {
      reply r;
      if (o.what == 'o') r = open(o);
      if (o.what == 'h') r = hear();
      if (o.what == 'a') r = ask(o);
      if (o.what == 'c') r = connect_one_by_one(o);
      if (o.what == 'x') close_all();
      if (::send(orders_, &r, sizeof r, 0) != sizeof r) return;
    }
  }

private:
  static int connect_to(int port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
      ::close(fd);
      return -1;
    }
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    timeval patience{10, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return fd;
  }

  /// A WebSocket; -1: it was refused.
  int open_one(int port, const std::string& target) {
    const int fd = connect_to(port);
    if (fd < 0) return -1;
    const std::string wish = "GET " + target + "?id=" + std::to_string(next_id_++) +
                             " HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\n"
                             "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    std::string heard;
    char bytes[1024];
    bool is_open =
        ::send(fd, wish.data(), wish.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(wish.size());
    while (is_open && heard.find("\r\n\r\n") == std::string::npos) {
      const ssize_t n = ::recv(fd, bytes, sizeof bytes, 0);
      if (n > 0) heard.append(bytes, static_cast<std::size_t>(n));
      is_open = n > 0;
    }
    if (is_open && heard.rfind("HTTP/1.1 101", 0) == 0) return fd;
    ::close(fd);
    return -1;
  }

  reply open(const order& o) {
    for (int i = 0; i < o.number; ++i) {
      const int fd = open_one(o.port, o.target);
      if (fd < 0) break;
      open_.push_back(fd);
    }
    return {static_cast<double>(open_.size()), 0, 0};
  }

  /// One text with the time at which it was sent, on each of the open connections.
  reply hear() {
    const int poll = ::epoll_create1(EPOLL_CLOEXEC);
    std::vector<std::string> held(open_.size());
    for (std::size_t i = 0; i < open_.size(); ++i) {
      epoll_event e{};
      e.events = EPOLLIN;
      e.data.u64 = i;
      ::epoll_ctl(poll, EPOLL_CTL_ADD, open_[i], &e);
    }
    const char ready = 1;
    if (::send(orders_, &ready, 1, 0) != 1) std::abort();
    std::vector<double> delays;
    delays.reserve(open_.size());
    std::vector<epoll_event> some(512);
    while (delays.size() < open_.size()) {
      const int n = ::epoll_wait(poll, some.data(), static_cast<int>(some.size()), 10'000);
      if (n <= 0) break;
      for (int i = 0; i < n; ++i) {
        std::string& text = held[some[static_cast<std::size_t>(i)].data.u64];
        char bytes[128];
        const ssize_t size = ::recv(open_[some[static_cast<std::size_t>(i)].data.u64], bytes,
                                    sizeof bytes, MSG_DONTWAIT);
        if (size <= 0) continue;
        text.append(bytes, static_cast<std::size_t>(size));
        if (text.size() < 2 + stamp_size) continue;
        const std::int64_t sent = std::atoll(text.substr(2, stamp_size).c_str());
        delays.push_back(static_cast<double>(now_ns() - sent) / 1e6);
      }
    }
    ::close(poll);
    if (delays.empty()) return {};
    std::sort(delays.begin(), delays.end());
    return {static_cast<double>(delays.size()), delays[delays.size() / 2], delays.back()};
  }

  /// The same request again and again on each of some connections, one at a time on each.
  reply ask(const order& o) {
    const std::string wish = "GET " + std::string(o.target) + " HTTP/1.1\r\nHost: bench\r\n\r\n";
    const int poll = ::epoll_create1(EPOLL_CLOEXEC);
    std::vector<int> all;
    std::size_t answer_size = 0;
    for (int i = 0; i < o.number; ++i) {
      const int fd = connect_to(o.port);
      if (fd < 0) return {};
      all.push_back(fd);
      answer_size = first_answer(fd, wish, o.text);
      if (answer_size == 0) return {};
      epoll_event e{};
      e.events = EPOLLIN;
      e.data.u64 = static_cast<std::uint64_t>(i);
      ::epoll_ctl(poll, EPOLL_CTL_ADD, fd, &e);
    }
    std::vector<std::size_t> missing(all.size(), answer_size);
    const std::int64_t begin = now_ns();
    const auto until = begin + static_cast<std::int64_t>(o.seconds * 1e9);
    for (const int fd : all) send_all(fd, wish);
    double answered = 0;
    while (now_ns() < until) {
      epoll_event some[64];
      const int n = ::epoll_wait(poll, some, 64, 1000);
      for (int i = 0; i < n; ++i) {
        const std::size_t which = some[i].data.u64;
        char bytes[4096];
        const ssize_t size = ::recv(all[which], bytes, sizeof bytes, 0);
        if (size <= 0 || static_cast<std::size_t>(size) > missing[which]) return {};
        missing[which] -= static_cast<std::size_t>(size);
        if (missing[which] != 0) continue;
        missing[which] = answer_size;
        ++answered;
        send_all(all[which], wish);
      }
    }
    const double seconds = static_cast<double>(now_ns() - begin) / 1e9;
    for (const int fd : all) ::close(fd);
    ::close(poll);
    return {answered / seconds, 0, 0};
  }

  static void send_all(int fd, const std::string& text) {
    if (::send(fd, text.data(), text.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(text.size())) {
      std::abort();
    }
  }

  /// The size of an answer that is 200 and ends with `text`; 0: of none.
  static std::size_t first_answer(int fd, const std::string& wish, const std::string& text) {
    send_all(fd, wish);
    std::string heard;
    char bytes[4096];
    while (!heard.ends_with(text)) {
      const ssize_t n = ::recv(fd, bytes, sizeof bytes, 0);
      if (n <= 0) return 0;
      heard.append(bytes, static_cast<std::size_t>(n));
    }
    return heard.rfind("HTTP/1.1 200", 0) == 0 ? heard.size() : 0;
  }

  /// How long it takes to connect, on average of some around the 10th and around the last.
  reply connect_one_by_one(const order& o) {
    std::vector<double> took;
    for (int i = 0; i < o.number; ++i) {
      const std::int64_t begin = now_ns();
      const int fd = open_one(o.port, o.target);
      if (fd < 0) return {};
      took.push_back(static_cast<double>(now_ns() - begin) / 1e3);
      open_.push_back(fd);
    }
    // Medians: one of them may have waited for the processor.
    const auto middle = [&](std::ptrdiff_t from, std::ptrdiff_t to) {
      std::vector<double> some(took.begin() + from, took.begin() + to);
      std::sort(some.begin(), some.end());
      return some[some.size() / 2];
    };
    const auto size = static_cast<std::ptrdiff_t>(took.size());
    return {middle(10 - o.other / 2, 10 + o.other), middle(size - 2 * o.other, size), 0};
  }

  void close_all() {
    for (const int fd : open_) ::close(fd);
    open_.clear();
  }

  static constexpr std::size_t stamp_size = 20;
  friend class clients;

  int orders_;
  int next_id_ = 0;
  std::vector<int> open_;
};

/// The clients, as the process of the server sees them. Made while that has one thread.
class clients {
public:
  clients() {
    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) std::abort();
    process_ = ::fork();
    if (process_ < 0) std::abort();
    if (process_ == 0) {
      ::close(pair[0]);
      client_side(pair[1]).run();
      ::_exit(0);
    }
    ::close(pair[1]);
    orders_ = pair[0];
  }
  clients(const clients&) = delete;
  clients& operator=(const clients&) = delete;
  ~clients() {
    ::close(orders_);  // which ends it
    ::waitpid(process_, nullptr, 0);
  }

  /// Opens WebSockets, each with an id of its own; gives how many there are.
  std::size_t open(int port, const std::string& target, std::size_t number) {
    return static_cast<std::size_t>(
        tell({.what = 'o', .port = port, .number = static_cast<int>(number)}, target).a);
  }
  void close_all() { tell({.what = 'x'}, {}); }

  /// A text that says when it was made.
  static std::string stamped_text() {
    std::string text = std::to_string(now_ns());
    return std::string(client_side::stamp_size - text.size(), '0') + text;
  }

  struct delays {
    double heard, p50, last;  // how many; milliseconds
  };
  void begin_hearing() {
    send({.what = 'h'}, {});
    char ready = 0;
    if (::recv(orders_, &ready, 1, 0) != 1) std::abort();
  }
  delays end_hearing() {
    const client_side::reply r = receive();
    return {r.a, r.b, r.c};
  }

  /// Requests per second that are answered with 200 and `text`; 0: one was not.
  double ask(int port, const std::string& target, const std::string& text, int connections,
             double seconds) {
    return tell({.what = 'a', .port = port, .number = connections, .seconds = seconds}, target,
                text)
        .a;
  }

  struct costs {
    double early, late;  // microseconds
  };
  costs connect_one_by_one(int port, const std::string& target, int number, int window) {
    const client_side::reply r =
        tell({.what = 'c', .port = port, .number = number, .other = window}, target);
    return {r.a, r.b};
  }

private:
  void send(client_side::order o, const std::string& target, const std::string& text = {}) {
    std::strncpy(o.target, target.c_str(), sizeof o.target - 1);
    std::strncpy(o.text, text.c_str(), sizeof o.text - 1);
    if (::send(orders_, &o, sizeof o, MSG_NOSIGNAL) != sizeof o) std::abort();
  }
  client_side::reply receive() {
    client_side::reply r;
    if (::recv(orders_, &r, sizeof r, 0) != sizeof r) std::abort();
    return r;
  }
  client_side::reply tell(const client_side::order& o, const std::string& target,
                          const std::string& text = {}) {
    send(o, target, text);
    return receive();
  }

  int orders_ = -1;
  pid_t process_ = -1;
};

}  // namespace bench
