// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Stands between a client and a server, and does to their bytes what networks do. Linux.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace redis_tests {

class tcp_proxy {
public:
  enum class mode {
    forward,  ///< Everything.
    hold,     ///< Nothing: what is sent is kept, and connections are made but never answered.
    deaf,     ///< Nothing that the server says.
    drip      ///< One byte each time.
  };

  explicit tcp_proxy(std::uint16_t to) : to_(to) {
    listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in at = loopback(0);
    socklen_t size = sizeof at;
    if (::bind(listener_, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0 ||
        ::listen(listener_, 16) != 0 ||
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&at), &size) != 0) {
      throw std::runtime_error("a proxy has no port");
    }
    port_ = ntohs(at.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  tcp_proxy(const tcp_proxy&) = delete;
  tcp_proxy& operator=(const tcp_proxy&) = delete;
  ~tcp_proxy() {
    ending_ = true;
    thread_.join();
    ::close(listener_);
  }

  std::uint16_t port() const { return port_; }
  std::string url() const { return "redis://127.0.0.1:" + std::to_string(port_); }

  /// What comes from its return on is treated so.
  void set(mode m) {
    mode_ = m;
    while (seen_ != m) std::this_thread::yield();
  }
  /// Ends all connections that there are, by resets.
  void reset() {
    resets_ = true;
    while (resets_) std::this_thread::yield();
  }
  /// How many connections have been made through it.
  int connections() const { return connections_; }

private:
  struct pair {
    int sides[2];
    std::string held[2];  // what has come from each side
  };

  static sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(port);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return at;
  }

  void run() {
    while (!ending_) {
      std::vector<pollfd> all{{listener_, POLLIN, 0}};
      const mode now = mode_;
      seen_ = now;
      const bool reads = now != mode::hold;
      for (const auto& p : pairs_) {
        for (int i = 0; i != 2; ++i) {
          short events = reads && p->held[i].size() < 1'000'000 ? POLLIN : 0;
          if (!p->held[1 - i].empty()) events |= POLLOUT;
          all.push_back({p->sides[i], events, 0});
        }
      }
      if (!reads) all.resize(1);
      ::poll(all.data(), all.size(), 5);
      if (resets_) {
        for (const auto& p : pairs_) end(*p, true);
        pairs_.clear();
        resets_ = false;
        continue;
      }
      if (all[0].revents != 0) admit();
      if (reads) carry(now);
    }
    for (const auto& p : pairs_) end(*p, false);
  }

  void admit() {
    const int client = ::accept(listener_, nullptr, nullptr);
    const int server = ::socket(AF_INET, SOCK_STREAM, 0);
    const sockaddr_in to = loopback(to_);
    if (::connect(server, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
      ::close(client);
      ::close(server);
      return;
    }
    ++connections_;
    pairs_.push_back(std::make_unique<pair>(pair{{client, server}, {}}));
  }

  void carry(mode now) {
    for (std::size_t i = 0; i != pairs_.size();) {
      if (carry(*pairs_[i], 0, now) && carry(*pairs_[i], 1, now)) {
        ++i;
        continue;
      }
      end(*pairs_[i], false);
      pairs_.erase(pairs_.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }

  /// From one side to the other. False: that was the end.
  static bool carry(pair& p, int from, mode now) {
    char buffer[65536];
    std::string& held = p.held[from];
    const std::size_t most = now == mode::drip ? 1 : sizeof buffer;
    if (held.size() < 1'000'000) {
      const auto n = ::recv(p.sides[from], buffer, most, MSG_DONTWAIT);
      if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) return false;
      if (n > 0) held.append(buffer, static_cast<std::size_t>(n));
    }
    if (now == mode::deaf && from == 1) return true;
    const std::size_t size = (std::min)(held.size(), most);
    if (size == 0) return true;
    const auto n = ::send(p.sides[1 - from], held.data(), size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0) held.erase(0, static_cast<std::size_t>(n));
    return n > 0 || errno == EAGAIN || errno == EINTR;
  }

  static void end(const pair& p, bool by_reset) {
    const linger now{1, 0};
    for (const int side : p.sides) {
      if (by_reset) ::setsockopt(side, SOL_SOCKET, SO_LINGER, &now, sizeof now);
      ::close(side);
    }
  }

  const std::uint16_t to_;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  std::atomic<mode> mode_{mode::forward};
  std::atomic<mode> seen_{mode::forward};
  std::atomic<bool> resets_{false};
  std::atomic<bool> ending_{false};
  std::atomic<int> connections_{0};
  std::vector<std::unique_ptr<pair>> pairs_;  // the thread's own
  std::thread thread_;
};

}  // namespace redis_tests
