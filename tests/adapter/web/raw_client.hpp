// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A client that sends what it is told to, well-formed or not. It blocks, within limits.

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

class raw_client {
public:
  explicit raw_client(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
      ::close(fd_);
      throw std::runtime_error("nobody listens");
    }
  }
  raw_client(const raw_client&) = delete;
  raw_client& operator=(const raw_client&) = delete;
  ~raw_client() { vanish(); }

  void vanish() noexcept {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

  void end_sending() noexcept { ::shutdown(fd_, SHUT_WR); }

  /// False: the server has closed the connection.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }

  /// Exactly `n` bytes; fewer if the connection ends, or nothing comes for ten seconds.
  std::string receive(std::size_t n) {
    while (held_.size() < n && more()) {
    }
    return take(n);
  }
  /// Up to and with `end`; all there is if it does not come.
  std::string receive_until(std::string_view end) {
    for (;;) {
      const std::size_t at = held_.find(end);
      if (at != std::string::npos) return take(at + end.size());
      if (!more()) return take(held_.size());
    }
  }
  /// True if nothing more comes: the server has closed the connection.
  bool is_over() {
    while (more()) {
    }
    return closed_;
  }

  // --- HTTP
  // ---------------------------------------------------------------------------------------
  struct answer {
    int status = 0;
    std::string head;
    std::string body;
  };

  answer ask(std::string_view what) {
    send(what);
    return read_answer();
  }
  answer get(const std::string& target, const std::string& more_fields = {}) {
    return ask("GET " + target + " HTTP/1.1\r\nHost: test\r\n" + more_fields + "\r\n");
  }
  answer read_answer() {
    answer a;
    a.head = receive_until("\r\n\r\n");
    if (a.head.size() < 12) return a;
    a.status = std::stoi(a.head.substr(9, 3));
    const std::string length = field(a.head, "Content-Length: ");
    if (!length.empty()) a.body = receive(std::stoul(length));
    return a;
  }
  static std::string field(const std::string& head, const std::string& name) {
    const std::size_t at = head.find("\r\n" + name);
    if (at == std::string::npos) return {};
    const std::size_t begin = at + 2 + name.size();
    return head.substr(begin, head.find("\r\n", begin) - begin);
  }

  // --- WebSocket
  // ----------------------------------------------------------------------------------
  static std::string upgrade(const std::string& more_fields = {}) {
    return "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
           more_fields;
  }
  /// The status of the answer.
  int open(const std::string& target, const std::string& more_fields = {}) {
    return get(target, upgrade(more_fields)).status;
  }

  static constexpr unsigned text = 1, binary = 2, close = 8, ping = 9, pong = 10;
  static constexpr unsigned final_frame = 0x80;

  bool send_frame(unsigned first_byte, std::string_view payload, bool masked = true) {
    std::string bytes(1, static_cast<char>(first_byte));
    const unsigned mask_bit = masked ? 0x80 : 0;
    if (payload.size() < 126) {
      bytes += static_cast<char>(mask_bit | payload.size());
    } else if (payload.size() < 65536) {
      bytes += static_cast<char>(mask_bit | 126);
      for (int shift = 8; shift >= 0; shift -= 8) {
        bytes += static_cast<char>(payload.size() >> shift & 0xff);
      }
    } else {
      bytes += static_cast<char>(mask_bit | 127);
      for (int shift = 56; shift >= 0; shift -= 8) {
        bytes += static_cast<char>(payload.size() >> shift & 0xff);
      }
    }
    constexpr std::string_view key = "mask";
    if (masked) bytes += key;
    for (std::size_t i = 0; i < payload.size(); ++i) {
      bytes += masked ? static_cast<char>(payload[i] ^ key[i % 4]) : payload[i];
    }
    return send(bytes);
  }
  bool say(std::string_view what) { return send_frame(final_frame | text, what); }

  struct frame {
    unsigned opcode = 0;
    std::string payload;
    /// Of a closing frame.
    unsigned code() const {
      if (opcode != close || payload.size() < 2) return 0;
      return static_cast<unsigned char>(payload[0]) * 256U + static_cast<unsigned char>(payload[1]);
    }
  };

  /// An empty one (opcode 0): none came.
  frame read_frame() {
    frame f;
    const std::string head = receive(2);
    if (head.size() < 2) return f;
    std::size_t size = static_cast<unsigned char>(head[1]) & 0x7fU;
    const std::size_t more_size = size == 126 ? 2 : size == 127 ? 8 : 0;
    if (more_size != 0) {
      size = 0;
      for (const char c : receive(more_size)) size = size << 8 | static_cast<unsigned char>(c);
    }
    f.payload = receive(size);
    f.opcode = static_cast<unsigned char>(head[0]) & 0x0fU;
    return f;
  }
  std::string hear() { return read_frame().payload; }
  /// The code of the closing frame, whatever comes before it.
  unsigned hear_close() {
    for (;;) {
      const frame f = read_frame();
      if (f.opcode == close || f.opcode == 0) return f.code();
    }
  }

private:
  bool more() {
    pollfd wait{fd_, POLLIN, 0};
    if (::poll(&wait, 1, 10'000) != 1) return false;
    char bytes[4096];
    const auto n = ::recv(fd_, bytes, sizeof bytes, 0);
    if (n <= 0) {
      closed_ = true;
      return false;
    }
    held_.append(bytes, static_cast<std::size_t>(n));
    return true;
  }
  std::string take(std::size_t n) {
    std::string taken = held_.substr(0, n);
    held_.erase(0, taken.size());
    return taken;
  }

  int fd_;
  std::string held_;
  bool closed_ = false;
};
