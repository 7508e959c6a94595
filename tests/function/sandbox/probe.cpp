// SPDX-License-Identifier: MIT
// The sandbox, seen from inside: what is there of the machine and of the host. What the kernel
// here does not give is not asked for.

#include <support/catch.hpp>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <troupe/function/sandbox/descriptor.hpp>

#include "subject.hpp"

using subject::running;

namespace {

std::string refused(int error) { return "value: errno " + std::to_string(error); }

/// A directory with one file, which everybody may read.
struct shelf {
  shelf() {
    char name[] = "/tmp/troupe-shelf-XXXXXX";
    path = ::mkdtemp(name);
    ::chmod(path.c_str(), 0755);
    std::FILE* const file = std::fopen((path + "/book").c_str(), "w");
    std::fputs("once upon a time", file);
    std::fclose(file);
    ::chmod((path + "/book").c_str(), 0644);
  }
  ~shelf() {
    ::unlink((path + "/book").c_str());
    ::rmdir(path.c_str());
  }
  std::string path;
};

}  // namespace

TEST_CASE("The level is what the kernel gives, and each process has it") {
  const troupe::sandbox_level level = subject::launcher().level();
  INFO(troupe::to_string(level));
  CHECK(level.covers(troupe::sandbox_level::process()));
  running m;
  CHECK(m->level() == level);
  CHECK(subject::launcher().level() == level);
}

TEST_CASE("Where the kernel gives less than is required, nothing runs") {
  troupe::sandbox_options demanding = subject::options();
  demanding.require = troupe::sandbox_level(1u << 30) | troupe::sandbox_level::process();
  troupe::detail::process_launcher launcher(demanding);
  CHECK(subject::start_error("dies", {}, launcher) ==
        "worker failed to start: the sandbox lacks: nothing");
  demanding.require = launcher.level();
  troupe::detail::process_launcher content(demanding);
  CHECK(subject::start_error("subject", {}, content) == "started");
}

TEST_CASE("A helper that keeps failing is not started over and over") {
  troupe::sandbox_options failing;
  failing.helper = "/bin/false";
  troupe::detail::process_launcher launcher(failing);
  const auto begun = troupe::steady_now();
  bool is_spared = false;
  std::string why;
  while (!is_spared && troupe::steady_now() - begun < subject::patience) {
    why = subject::start_error("subject", {}, launcher);
    CHECK(why.find("helper") != std::string::npos);
    is_spared = why.find(
                    "keeps failing, and is tried again later: the helper of its sandbox has "
                    "ended") != std::string::npos;
  }
  CHECK(is_spared);
  INFO(why);
  CHECK(why.find("exited with 1") != std::string::npos);
  // It is tried again when some time has passed, and at no other time.
  std::uint32_t helpers = launcher.helpers_started();
  std::uint32_t refused = 0;
  while (launcher.helpers_started() == helpers &&
         troupe::steady_now() - begun < subject::patience) {
    static_cast<void>(subject::start_error("subject", {}, launcher));
    ++refused;
  }
  CHECK(launcher.helpers_started() == helpers + 1);
  CHECK(refused >= 1);
}

TEST_CASE("Without a helper there is a reason") {
  troupe::sandbox_options lost;
  lost.helper = "/nowhere/troupe-function";
  troupe::detail::process_launcher launcher(lost);
  CHECK(subject::start_error("subject", {}, launcher).find("the helper cannot be started") !=
        std::string::npos);
  CHECK_THROWS_AS(launcher.level(), troupe::error);
  // A program that is no helper does not answer as one.
  lost.helper = "/bin/true";
  troupe::detail::process_launcher other(lost);
  CHECK(subject::start_error("subject", {}, other).find("helper") != std::string::npos);
  CHECK_THROWS_AS(other.level(), troupe::error);
  // However many ask at once, each is told.
  std::vector<std::thread> askers;
  troupe::detail::atomic<int> told{0};
  for (int i = 0; i != 4; ++i) {
    askers.emplace_back([&] {
      for (int round = 0; round != 5; ++round) {
        try {
          static_cast<void>(other.level());
        } catch (const troupe::error&) {
          told.fetch_add(1, troupe::detail::order::relaxed);
        }
      }
    });
  }
  for (std::thread& one : askers) one.join();
  CHECK(told.load(troupe::detail::order::relaxed) == 20);
}

TEST_CASE("No descriptor and no variable of the host is in the process") {
  ::setenv("TROUPE_SECRET", "hush", 1);
  const int leaked = ::dup(1);  // inherited by every program that is started carelessly
  troupe::detail::process_launcher launcher(subject::options());
  running m("subject", {}, launcher);
  CHECK(m.ask("descriptors") == "value: 0 1 2 3 ");
  CHECK(m.ask("environment") == "value: ");
  ::close(leaked);
  ::unsetenv("TROUPE_SECRET");
}

TEST_CASE("No file of the machine is there") {
  running m;
  if (!m->level().has(troupe::sandbox_part::no_foreign_files)) return;
  for (const char* path : {"/etc/passwd", "/proc/self/maps", "/proc/1/environ", "/dev/null", "/"}) {
    INFO(path);
    CHECK(m.ask("read_file", path) == refused(EACCES));
    CHECK(m.ask("write_file", path) == refused(EACCES));
  }
  CHECK(m.ask("list_directory", "/") == refused(EACCES));
  CHECK(m.ask("stat_file", "/etc/passwd") == refused(EACCES));
  CHECK(m.ask("write_file", "/new") == refused(EACCES));
  CHECK(m.ask("load_library") == "value: refused");
}

TEST_CASE("A directory that it may read is all that a module can read") {
  const shelf books;
  troupe::module_permissions reader;
  reader.may_read = books.path;
  running m("subject", reader);
  CHECK(m.ask("read_file", books.path + "/book") == "value: once upon a time");
  CHECK(m.ask("list_directory", books.path).find("book") != std::string::npos);
  CHECK(m.ask("write_file", books.path + "/book") == refused(EACCES));
  CHECK(m.ask("write_file", books.path + "/new") == refused(EACCES));
  CHECK(m.ask("read_file", books.path + "/../../etc/passwd").substr(0, 13) == "value: errno ");
  CHECK(m.ask("read_file", "/etc/passwd").substr(0, 13) == "value: errno ");
  CHECK(m.ask("read_file", "/proc/self/maps").substr(0, 13) == "value: errno ");

  running other;
  CHECK(other.ask("read_file", books.path + "/book") == refused(EACCES));

  for (const char* bad : {"relative", "/", "/nowhere/at/all", "/etc/passwd", "/usr/../etc"}) {
    INFO(bad);
    reader.may_read = bad;
    CHECK(subject::start_error("subject", reader).find("the directory that it may read: ") !=
          std::string::npos);
  }
}

TEST_CASE("No process of the host has a number in the sandbox") {
  running m;
  const std::string ids = m.ask("ids");
  INFO(ids);
  if (m->level().has(troupe::sandbox_part::process_namespace)) {
    CHECK(std::stoi(ids.substr(7)) < 10'000);
    CHECK(std::stoi(ids.substr(7)) != m->process_id());
  }
  if (m->level().has(troupe::sandbox_part::user_namespace)) {
    CHECK(ids.find(" 65534 65534") != std::string::npos);
  }
}

TEST_CASE("Limits are in force, and code is not made") {
  running m;
  const std::string limits = m.ask("limits");
  INFO(limits);
  CHECK(limits.substr(limits.size() - 7) == " 0 0 0 ");
  if (!m->level().has(troupe::sandbox_part::system_call_filter)) return;
  CHECK(m.ask("make_code") == refused(EACCES));
  CHECK(m.ask("share_memory") == refused(EPERM));
  CHECK(m.ask("grow_stack") == refused(EPERM));
}

TEST_CASE("A static constructor makes no code either, and fakes no filter") {
  if (!subject::launcher().level().has(troupe::sandbox_part::system_call_filter)) return;
  CHECK(subject::start_error("makes_code") ==
        "worker failed to start: it is no module: it has no symbol troupe_module_entry");
  CHECK(subject::start_error("fakes_filter") ==
        "worker failed to start: the second filter of system calls cannot be installed");
}

TEST_CASE("Descriptors are closed without the call for it, too") {
  using troupe::detail::sandbox::close_counted;
  using troupe::detail::sandbox::close_listed;
  for (const auto close_them : {close_listed, close_counted}) {
    const ::pid_t process = ::fork();
    REQUIRE(process >= 0);
    if (process == 0) {
      rlimit few{};
      ::getrlimit(RLIMIT_NOFILE, &few);
      few.rlim_cur = (std::min)(few.rlim_cur, rlim_t{4096});
      ::setrlimit(RLIMIT_NOFILE, &few);
      const int one = ::fcntl(1, F_DUPFD, 100);
      const int other = ::fcntl(1, F_DUPFD, 200);
      const bool closed = one >= 100 && other >= 200 && close_them(100) &&
                          ::fcntl(one, F_GETFD) < 0 && ::fcntl(other, F_GETFD) < 0 &&
                          ::fcntl(1, F_GETFD) >= 0;
      ::_exit(closed ? 0 : 1);
    }
    int status = -1;
    REQUIRE(::waitpid(process, &status, 0) == process);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
  }
}

TEST_CASE("The network is there for those who may, and for nobody else") {
  troupe::module_permissions online;
  online.network = true;
  running m("subject", online);
  CHECK(m.ask("open_socket") == "value: ok");
  CHECK(m.ask("unix_socket") == refused(EAFNOSUPPORT));
  CHECK_FALSE(m->level().has(troupe::sandbox_part::network_namespace));
}
