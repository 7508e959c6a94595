// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A Redis server of a test's own: a free port, a directory of its own, gone with the test. Linux.

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <hiredis/hiredis.h>

namespace redis_tests {

/// One that nobody listens at, at this moment.
inline std::uint16_t free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  const bool is_good = ::bind(fd, reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0 &&
                       ::getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size) == 0;
  ::close(fd);
  if (!is_good) throw std::runtime_error("there is no free port");
  return ntohs(at.sin_port);
}

class redis_server {
public:
  using words = std::vector<std::string>;

  /// Started, and ready to be asked. `more` comes last on its command line. Keeps what it is told,
  /// unless `is_durable` is false.
  explicit redis_server(words more = {}, bool is_durable = true)
      : port_(free_port()), more_(std::move(more)), is_durable_(is_durable) {
    std::string name = (std::filesystem::temp_directory_path() / "troupe-redis-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no directory");
    directory_ = name;
    for (int i = 0; i != 5 && !try_to_start(true); ++i) port_ = free_port();  // somebody had it
    if (pid_ < 0) fail();
  }
  redis_server(const redis_server&) = delete;
  redis_server& operator=(const redis_server&) = delete;
  ~redis_server() {
    kill();
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  std::uint16_t port() const { return port_; }
  std::string url() const { return "redis://127.0.0.1:" + std::to_string(port_); }
  const std::filesystem::path& directory() const { return directory_; }

  /// As it was, on the same port, with what it has kept. It listens when this returns, and has
  /// loaded its data where `is_loaded`.
  void start(bool is_loaded = true) {
    for (int i = 0; i != 5; ++i) {
      if (try_to_start(is_loaded)) return;
    }
    fail();
  }
  /// From the next start on its command line has these words as well.
  void add(const words& more) { more_.insert(more_.end(), more.begin(), more.end()); }
  /// kill -9.
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  void restart() {
    kill();
    start();
  }
  void restart_empty() {
    kill();
    for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
      if (entry.path().filename() != "log") std::filesystem::remove_all(entry.path());
    }
    start();
  }
  void pause() { ::kill(pid_, SIGSTOP); }
  void go_on() { ::kill(pid_, SIGCONT); }

  /// Asks it over a connection of its own, and gives the answer as text; empty: it could not be
  /// asked. Words are parted by blanks.
  std::string said(const std::string& command) const {
    const timeval limit{2, 0};
    ::redisContext* const c = ::redisConnectWithTimeout("127.0.0.1", port_, limit);
    std::string text;
    if (c != nullptr && c->err == 0) {
      ::redisSetTimeout(c, limit);
      if (auto* const r = static_cast<::redisReply*>(::redisCommand(c, command.c_str()))) {
        if (r->type == REDIS_REPLY_INTEGER) text = std::to_string(r->integer);
        if (r->str != nullptr) text.assign(r->str, r->len);
        ::freeReplyObject(r);
      }
    }
    ::redisFree(c);
    return text;
  }

private:
  /// False: it has ended at once.
  bool try_to_start(bool is_loaded) {
    spawn();
    for (int i = 0; i != 3000; ++i) {
      if (is_loaded ? is_ready() : is_listening()) return true;
      if (::waitpid(pid_, nullptr, WNOHANG) == pid_) {
        pid_ = -1;
        return false;
      }
      ::poll(nullptr, 0, 10);
    }
    fail();
  }
  [[noreturn]] void fail() {
    kill();
    std::ifstream log(directory_ / "log");
    throw std::runtime_error("redis-server has not started; it has to be installed: " +
                             std::string(std::istreambuf_iterator<char>(log), {}));
  }

  /// It is this one that answers, and not another that has the port.
  bool is_ready() const {
    if (said("PING").starts_with("LOADING")) return false;
    const std::string about = said("INFO server");
    return about.starts_with("NOAUTH") ||
           about.find("process_id:" + std::to_string(pid_)) != std::string::npos;
  }
  bool is_listening() const {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port_);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const bool is = ::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0;
    ::close(fd);
    return is;
  }

  void spawn() {
    words all{"redis-server",
              "--port",
              std::to_string(port_),
              "--bind",
              "127.0.0.1",
              "--save",
              "",
              "--dir",
              directory_.string()};
    if (is_durable_) {
      for (const char* const w : {"--appendonly", "yes", "--appendfsync", "everysec"}) {
        all.emplace_back(w);
      }
    }
    all.insert(all.end(), more_.begin(), more_.end());
    std::vector<char*> argv;
    for (std::string& w : all) argv.push_back(w.data());
    argv.push_back(nullptr);
    const std::string log = (directory_ / "log").string();
    pid_ = ::fork();
    if (pid_ < 0) throw std::runtime_error("no process");
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // whatever becomes of the test
    const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ::dup2(out, 1);
    ::dup2(out, 2);
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }

  std::uint16_t port_;
  words more_;
  const bool is_durable_;
  std::filesystem::path directory_;
  pid_t pid_ = -1;
};

}  // namespace redis_tests
