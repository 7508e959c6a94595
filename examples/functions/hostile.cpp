// SPDX-License-Identifier: MIT
// What nobody wants in his own process.

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <sys/socket.h>
#include <unistd.h>

#include <troupe.hpp>
#include <troupe/function/module.hpp>

struct hostile {
  void loop() {
    for (volatile bool on = true; on;) {
    }
  }
  void crash() { *static_cast<volatile int*>(nullptr) = 1; }
  std::size_t eat_memory() {
    constexpr std::size_t megabyte = std::size_t{1} << 20;
    std::vector<std::unique_ptr<char[]>> eaten;
    for (;;) {
      eaten.push_back(std::make_unique<char[]>(megabyte));
      std::memset(eaten.back().get(), 1, megabyte);
    }
  }
  int open_socket() { return ::socket(AF_INET, SOCK_STREAM, 0); }
  std::string read_passwd() {
    std::FILE* const file = std::fopen("/etc/passwd", "r");
    if (file == nullptr) return std::string("no: ") + std::strerror(errno);
    char line[100] = {};
    const char* const read = std::fgets(line, sizeof line, file);
    std::fclose(file);
    return read != nullptr ? std::string("yes: ") + line : "it is empty";
  }
  void fork_bomb() {
    for (;;) {
      if (::fork() < 0) return;
    }
  }
};
TROUPE_METHODS(hostile, loop, crash, eat_memory, open_socket, read_passwd, fork_bomb)
TROUPE_MODULE(hostile, "v1.0.0");
