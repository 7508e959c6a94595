// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Something that listens and says what it is told to, Redis or not. Linux.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace redis_tests {

/// `answer(line)` is asked with each line of a client; what it returns is sent. An answer of "END"
/// closes the connection. `first` is said to each that comes.
class scripted_server {
public:
  using answers = std::function<std::string(std::string_view)>;

  explicit scripted_server(answers a, std::string first = {})
      : answer_(std::move(a)), first_(std::move(first)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    if (::bind(listener_, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0 ||
        ::listen(listener_, 16) != 0 ||
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&at), &size) != 0) {
      throw std::runtime_error("a server has no port");
    }
    port_ = ntohs(at.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  scripted_server(const scripted_server&) = delete;
  scripted_server& operator=(const scripted_server&) = delete;
  ~scripted_server() {
    ending_ = true;
    thread_.join();
    ::close(listener_);
  }

  std::string url() const { return "redis://127.0.0.1:" + std::to_string(port_); }

private:
  struct client {
    int fd;
    std::string held;
  };

  void run() {
    std::vector<client> clients;
    while (!ending_) {
      std::vector<pollfd> all{{listener_, POLLIN, 0}};
      for (const client& c : clients) all.push_back({c.fd, POLLIN, 0});
      ::poll(all.data(), all.size(), 10);
      for (std::size_t i = clients.size(); i != 0; --i) {
        if (all[i].revents == 0 || serve(clients[i - 1])) continue;
        ::close(clients[i - 1].fd);
        clients.erase(clients.begin() + static_cast<std::ptrdiff_t>(i - 1));
      }
      if (all[0].revents == 0) continue;
      clients.push_back({::accept(listener_, nullptr, nullptr), {}});
      say(clients.back().fd, first_);
    }
    for (const client& c : clients) ::close(c.fd);
  }

  bool serve(client& c) {
    char buffer[4096];
    const auto n = ::recv(c.fd, buffer, sizeof buffer, 0);
    if (n <= 0) return false;
    c.held.append(buffer, static_cast<std::size_t>(n));
    for (;;) {
      const std::size_t end = c.held.find("\r\n");
      if (end == std::string::npos) return true;
      const std::string text = answer_(std::string_view(c.held).substr(0, end));
      c.held.erase(0, end + 2);
      if (text == "END") return false;
      say(c.fd, text);
    }
  }
  static void say(int fd, std::string_view text) {
    if (!text.empty()) static_cast<void>(::send(fd, text.data(), text.size(), MSG_NOSIGNAL));
  }

  const answers answer_;
  const std::string first_;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  std::atomic<bool> ending_{false};
  std::thread thread_;
};

}  // namespace redis_tests
