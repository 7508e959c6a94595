// SPDX-License-Identifier: MIT
// Runs examples/app and asks for everything that its README promises.
#include <catch2/catch.hpp>

#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "adapter/web/raw_client.hpp"

extern char** environ;

namespace {

/// The session of a process, as the kernel shows it; -1 if it has ended.
pid_t session_of(const std::filesystem::path& process) {
  std::ifstream file(process / "stat");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const std::size_t name_end = text.rfind(')');  // its name may have anything in it
  if (name_end == std::string::npos) return -1;
  std::istringstream rest(text.substr(name_end + 1));
  char state = 0;
  pid_t parent = -1;
  pid_t group = -1;
  pid_t session = -1;
  rest >> state >> parent >> group >> session;
  return rest && state != 'Z' && state != 'X' ? session : -1;
}

/// True if a process of the session runs besides `but`.
bool has_others(pid_t session, pid_t but) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    const bool is_process = name.find_first_not_of("0123456789") == std::string::npos;
    if (!is_process || name == std::to_string(but)) continue;
    if (session_of(entry.path()) == session) return true;
  }
  return false;
}

/// The program, from its first line to its end.
class program {
public:
  program() {
    const char* const path = std::getenv("TROUPE_EXAMPLE_APP");
    if (path == nullptr) throw std::runtime_error("TROUPE_EXAMPLE_APP does not say where it is");
    int ends[2] = {};
    if (::pipe(ends) != 0) throw std::runtime_error("no pipe");
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    ::posix_spawn_file_actions_addclose(&actions, ends[0]);
    const std::vector<std::string> words{path, "0"};
    char* const argv[] = {const_cast<char*>(words[0].c_str()), const_cast<char*>(words[1].c_str()),
                          nullptr};
    posix_spawnattr_t attributes;
    ::posix_spawnattr_init(&attributes);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    const int failed = ::posix_spawn(&pid_, path, &actions, &attributes, argv, environ);
    ::posix_spawnattr_destroy(&attributes);
    ::posix_spawn_file_actions_destroy(&actions);
    session_ = pid_;
    ::close(ends[1]);
    out_ = ends[0];
    if (failed != 0) throw std::runtime_error("it does not start");
    const std::string line = first_line();
    const std::size_t colon = line.rfind(':');
    if (colon == std::string::npos) throw std::runtime_error("it says '" + line + "'");
    port_ = static_cast<std::uint16_t>(std::stoi(line.substr(colon + 1)));
  }
  program(const program&) = delete;
  program& operator=(const program&) = delete;
  ~program() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    ::close(out_);
  }

  std::uint16_t port() const { return port_; }

  /// How it ends when it is asked to: its exit code; -1 if it is killed, or has not ended after 20
  /// s.
  int end(int signal) {
    ::kill(pid_, signal);
    for (int i = 0; i < 2000; ++i) {
      int status = 0;
      if (::waitpid(pid_, &status, WNOHANG) == pid_) {
        pid_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
      }
      ::usleep(10'000);
    }
    return -1;
  }

  /// True if it has left no process: its helper and the children of that have groups of their own,
  /// but are of its session. Waits, for ten seconds at most.
  bool is_all_gone() const {
    for (int i = 0; i < 1000; ++i) {
      if (!has_others(session_, -1)) return true;
      ::usleep(10'000);
    }
    return false;
  }
  /// True if it has processes besides its own: its helper, and the children of that.
  bool has_processes() const { return has_others(session_, pid_); }

private:
  std::string first_line() {
    std::string line;
    char c = 0;
    while (::read(out_, &c, 1) == 1 && c != '\n') line += c;
    return line;
  }

  pid_t pid_ = -1;
  pid_t session_ = -1;
  int out_ = -1;
  std::uint16_t port_ = 0;
};

/// What the walk-through asks, and what comes.
struct visitor {
  explicit visitor(std::uint16_t port) : client(port) {}
  std::string body(const std::string& target) { return client.get(target).body; }
  int status(const std::string& target) { return client.get(target).status; }
  raw_client client;
};

}  // namespace

TEST_CASE("the example app answers as its README says") {
  program app;
  visitor v(app.port());

  SECTION("endpoints") {
    const auto hello = v.client.get("/hello/world");
    CHECK(hello.status == 200);
    CHECK(hello.body == "Hello World");
    const auto fetched = v.client.get("/fetch_example");
    CHECK(fetched.status == 200);
    CHECK(fetched.body == "Greetings from elsewhere");
    CHECK(raw_client::field(fetched.head, "Content-Type: ") == "text/plain; charset=utf-8");
    CHECK(v.status("/fetch_example/elsewhere") == 503);
    CHECK(v.status("/test1/ok") == 200);
    CHECK(v.body("/test1/ok") == "OK");
    const auto forbidden = v.client.get("/test1/forbidden");
    CHECK(forbidden.status == 403);
    CHECK(forbidden.body == "Forbidden");
    const auto redirect = v.client.get("/test1/redirect");
    CHECK(redirect.status == 302);
    CHECK(raw_client::field(redirect.head, "Location: ") == "/test1/ok");
    const auto failed = v.client.get("/test1/error");
    CHECK(failed.status == 500);
    CHECK(failed.body == "internal error");
    CHECK(v.status("/") == 200);
    CHECK(v.status("/none") == 404);
    CHECK(v.status("/none/ok") == 404);
    CHECK(v.status("/test1/none") == 404);
    CHECK(v.status("/fetch/get?url=http://test.local/greeting") == 404);
    CHECK(v.status("/..%2ftest1/ok") == 404);
  }
  SECTION("state is each module's own") {
    CHECK(v.body("/test1/state") == "test1");
    CHECK(v.body("/test1/state?set=foo") == "foo");
    CHECK(v.body("/test1/state") == "foo");
    CHECK(v.body("/test2/state") == "test2");
    CHECK(v.body("/test2/state?set=bar") == "bar");
    CHECK(v.body("/test2/state") == "bar");
    CHECK(v.body("/test1/state") == "foo");
    CHECK(v.body("/test1/global") == "test1");
    CHECK(v.body("/test1/global?set=foo") == "foo");
    CHECK(v.body("/test1/global") == "foo");
    CHECK(v.body("/test2/global") == "test2");
    CHECK(v.body("/test2/global?set=bar") == "bar");
    CHECK(v.body("/test1/global") == "foo");
  }
  SECTION("and each key's") {
    CHECK(v.body("/test1/state?set=shared") == "shared");
    CHECK(v.body("/test1/state?id=alice") == "test1");
    CHECK(v.body("/test1/state?id=alice&set=hers") == "hers");
    CHECK(v.body("/test1/global?id=alice&set=hers") == "hers");
    CHECK(v.body("/test1/state?id=alice") == "hers");
    CHECK(v.body("/test1/state?id=bob") == "test1");
    CHECK(v.body("/test1/global?id=bob") == "test1");
    CHECK(v.body("/test1/state") == "shared");
    CHECK(v.status("/test1/state?id=" + std::string(65, 'x')) == 400);
  }
  SECTION("a module that is loaded anew has forgotten") {
    CHECK(v.body("/test1/state?set=changed") == "changed");
    CHECK(v.body("/test1/state") == "changed");
    CHECK(v.body("/test2/state?set=kept") == "kept");
    CHECK(v.body("/test1") == "Module reloaded");
    CHECK(v.body("/test1/state") == "test1");
    CHECK(v.body("/test2/state") == "kept");
  }
  CHECK(app.end(SIGTERM) == 0);
  CHECK(app.is_all_gone());
}

TEST_CASE("a program without helpers has no processes besides its own") {
  const auto start = [](const char* script) {
    char shell[] = "/bin/sh";
    char option[] = "-c";
    std::string text = script;
    char* const argv[] = {shell, option, text.data(), nullptr};
    posix_spawnattr_t attributes;
    ::posix_spawnattr_init(&attributes);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    pid_t pid = -1;
    REQUIRE(::posix_spawn(&pid, shell, nullptr, &attributes, argv, environ) == 0);
    ::posix_spawnattr_destroy(&attributes);
    return pid;
  };
  const auto end = [](pid_t leader) {
    ::kill(-leader, SIGKILL);
    int status = 0;
    ::waitpid(leader, &status, 0);
  };
  const pid_t alone = start("exec sleep 60");
  CHECK_FALSE(has_others(alone, alone));
  end(alone);
  const pid_t with_child = start("sleep 60 & wait");
  bool has_child = false;
  for (int i = 0; i != 1000 && !has_child; ++i) {
    has_child = has_others(with_child, with_child);
    if (!has_child) ::usleep(10'000);
  }
  CHECK(has_child);
  end(with_child);
}

TEST_CASE("Ctrl-C ends the example app and all its processes") {
  program app;
  visitor v(app.port());
  CHECK(v.body("/test1/state?set=foo") == "foo");
  CHECK(v.body("/test1/state?id=alice") == "test1");
  CHECK(app.has_processes());
  CHECK(app.end(SIGINT) == 0);
  CHECK(app.is_all_gone());
}
