// SPDX-License-Identifier: MIT
// Whatever a module does in its process, its callers hear of it by name, once, and the host and
// other modules go on.

#include <support/catch.hpp>

#include <deque>
#include <string>
#include <thread>

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <troupe/base/hash.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/within.hpp>

#include "subject.hpp"

using subject::running;

namespace {

/// What the caller of `function` gets. The owner hears the same, and nobody hears it twice.
std::string crash_by(const char* function, const char* payload = "") {
  running bystander;
  running m;
  subject::call waiting;
  m.start(waiting, "keep");
  const std::string outcome = m.ask(function, payload);
  if (!m.owner().end.wait()) return "no end: " + outcome;
  CHECK(m.owner().failures == 1);
  CHECK(m.owner().failure == outcome);
  CHECK(m.owner().ends == 1);
  CHECK(waiting.outcome() == outcome);
  CHECK(waiting.ends == 1);
  CHECK(m.ask("echo") == "given back");
  CHECK(bystander.ask("count") == "value: 1");
  return outcome;
}

}  // namespace

TEST_CASE("A module that dies is reported by what it died of") {
  CHECK(crash_by("crash") == "worker crashed: its process was killed by SIGSEGV");
  CHECK(crash_by("abort") == "worker crashed: its process was killed by SIGABRT");
  CHECK(crash_by("throw") == "worker crashed: its process was killed by SIGABRT");
  CHECK(crash_by("exit") == "worker crashed: its process exited with 3");
  CHECK(crash_by("exit_0") == "worker crashed: its process exited with 0");
  CHECK(crash_by("raise") == "worker crashed: its process was killed by SIGTERM");
  CHECK(crash_by("overflow_stack") == "worker crashed: its process was killed by SIGSEGV");
}

TEST_CASE("System calls that reach out of the sandbox end the process") {
  const std::string forbidden =
      "worker crashed: it made a forbidden system call (killed by SIGSYS)";
  for (const char* act : {"fork_bomb", "open_socket", "unix_socket", "run_program", "trace",
                          "kill_others", "unshare", "move_sleepers"}) {
    INFO(act);
    CHECK(crash_by(act) == forbidden);
  }
#if defined(__x86_64__)
  CHECK(crash_by("old_calls") == forbidden);
#endif
}

TEST_CASE("Memory is refused at its limit") {
  troupe::module_permissions little;
  little.memory = std::size_t{32} << 20;
  running m("subject", little);
  const std::string eaten = m.ask("eat_memory");
  REQUIRE(eaten.substr(0, 7) == "value: ");
  const int megabytes = std::stoi(eaten.substr(7));
  CHECK(megabytes >= 16);
  CHECK(megabytes <= 32);
  CHECK(m.ask("eat_memory").substr(0, 7) == "value: ");
  CHECK(m.ask("eat_memory_and_die") ==
        "worker crashed: its process was killed by SIGABRT, after it had run into its memory "
        "limit");
}

TEST_CASE("Threads and descriptors are refused at their limits") {
  troupe::module_permissions few;
  few.files = 3;
  few.may_read = "/usr/lib";
  running m("subject", few);
  CHECK(m.ask("thread_bomb") == "value: 0");
  CHECK(m.ask("start_thread") == "value: errno " + std::to_string(EAGAIN));
  const std::string leaked = m.ask("leak_descriptors", "/usr/lib");
  CHECK(leaked.find("errno " + std::to_string(EMFILE)) != std::string::npos);
  CHECK(std::stoi(leaked.substr(7)) <= 4);
  CHECK(m.ask("close_descriptors") == "value: closed");
  CHECK(m.ask("echo", "still here") == "value: still here");
}

TEST_CASE("Garbage in the shared memory ends the process that wrote it") {
  const std::string garbage =
      "worker crashed: it wrote garbage to the memory that it shares with its host";
  for (const char* how :
       {"tail", "entry", "other cell", "long reply", "everything", "started again"}) {
    INFO(how);
    CHECK(crash_by("garbage", how) == garbage);
  }
}

TEST_CASE("Out of descriptors, a start fails by name or its process can be killed") {
  {
    running warm;
  }
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  for (int room = 0; room != 10; ++room) {
    INFO(room);
    // All but `room` of the numbers below a limit are in use.
    std::vector<int> used;
    const rlimit tight{256, before.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &tight) == 0);
    for (int one = ::dup(0); one >= 0; one = ::dup(0)) used.push_back(one);
    for (int i = 0; i != room && !used.empty(); ++i) {
      ::close(used.back());
      used.pop_back();
    }
    // The destructor of what has started kills it, and waits for its end.
    const std::string outcome = subject::start_error("subject");
    for (const int one : used) ::close(one);
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
    const bool is_named = outcome == "started" || outcome.find("worker failed to start: ") == 0;
    INFO(outcome);
    CHECK(is_named);
  }
  CHECK(subject::start_error("subject") == "started");
}

TEST_CASE("A module that does not stop asking for what it may not have is ended") {
  CHECK(crash_by("pester") ==
        "worker crashed: it does not stop calling modules that it may not call");
}

TEST_CASE("The event of the host is out of a module's hands") {
  for (const bool network : {true, false}) {
    troupe::module_permissions some;
    some.network = network;
    running m("subject", some);
    if (!m->level().has(troupe::sandbox_part::system_call_filter)) return;
    CHECK(m.ask("hold_event") ==
          "value: flags errno " + std::to_string(EPERM) + ", read errno " + std::to_string(EBADF));
    CHECK(m.ask("echo", "on") == "value: on");
  }
}

TEST_CASE("A module that never comes back is killed by its host") {
  for (const char* how : {"loop", "sleep", "ignore_signals"}) {
    INFO(how);
    running m;
    subject::call c;
    m.start(c, how);
    // Any moment will do: before it has begun, too, when the call is given back.
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    const auto before = troupe::steady_now();
    m->kill(troupe::errc::worker_stalled, "too long");
    REQUIRE(c.ended.wait());
    REQUIRE(m.owner().end.wait());
    CHECK(c.outcome() == "worker stalled: too long");
    CHECK(troupe::steady_now() - before < std::chrono::seconds(20));
  }
}

TEST_CASE("A stopped process is killed like any other") {
  running m;
  REQUIRE(m.ask("count") == "value: 1");
  REQUIRE(::kill(m->process_id(), SIGSTOP) == 0);
  subject::call c;
  m.start(c, "echo");
  CHECK(c.outcome() == "nothing");
  m->kill(troupe::errc::worker_stalled, "stopped");
  REQUIRE(c.ended.wait());
  CHECK((c.outcome() == "given back" || c.outcome() == "worker stalled: stopped"));
  CHECK(m.owner().end.wait());
}

TEST_CASE("A start that hangs, dies or is no module's fails by name") {
  troupe::sandbox_options impatient = subject::options();
  impatient.start_limit = std::chrono::milliseconds(300);
  troupe::detail::process_launcher launcher(impatient);
  CHECK(subject::start_error("hangs", {}, launcher) ==
        "worker failed to start: it did not start within its time limit");
  CHECK(subject::start_error("dies") ==
        "worker failed to start: its process was killed by SIGSEGV");
  CHECK(subject::start_error("exits") == "worker failed to start: its process exited with 0");
  CHECK(subject::start_error("other_abi") ==
        "worker failed to start: it is built for version 77 of the interface, not 1");
  CHECK(subject::start_error("no_entry") ==
        "worker failed to start: it is no module: it has no symbol troupe_module_entry");
  CHECK(subject::start_error("will_not") ==
        "worker failed to start: its instance cannot be made: not today");
  CHECK(subject::start_error("opens_socket") ==
        "worker failed to start: it made a forbidden system call (killed by SIGSYS)");
  CHECK(subject::start_error("needs_symbol").find("the library cannot be loaded") !=
        std::string::npos);
  CHECK(subject::start_error("subject") == "started");
}

TEST_CASE("A hundred crashes leave nothing behind") {
  {
    running warm;
  }
  const std::size_t before = subject::open_descriptors();
  for (int i = 0; i != 100; ++i) {
    running m;
    const std::string outcome = m.ask(i % 2 == 0 ? "crash" : "exit");
    REQUIRE(outcome.substr(0, 15) == "worker crashed:");
  }
  CHECK(subject::open_descriptors() <= before + 4);
  CHECK(subject::launcher().helpers_started() == 1);
}

TEST_CASE("Processes killed from outside at any moment settle every call once") {
  std::uint64_t random = 12345;
  for (int round = 0; round != 40; ++round) {
    running m;
    std::deque<subject::call> calls;
    std::thread killer([&, pause = troupe::splitmix64(random) % 3000] {
      std::this_thread::sleep_for(std::chrono::microseconds(pause));
      ::kill(m->process_id(), SIGKILL);
    });
    for (int i = 0; i != 400; ++i) {
      calls.emplace_back(std::string(static_cast<std::size_t>(i % 7) * 300, 'x'));
      m.start(calls.back(), i % 50 == 0 ? "keep" : "echo");
    }
    killer.join();
    REQUIRE(m.owner().end.wait());
    CHECK(m.owner().ends == 1);
    for (subject::call& c : calls) {
      REQUIRE(c.ended.wait());
      CHECK(c.ends == 1);
      const std::string outcome = c.outcome();
      const bool is_named = outcome == "given back" || outcome.substr(0, 7) == "value: " ||
                            outcome ==
                                "worker crashed: its process was killed by SIGKILL: by somebody "
                                "else, or for want of memory";
      CHECK(is_named);
    }
  }
}

TEST_CASE("A killed helper takes its children along, and there is another one") {
  troupe::detail::process_launcher launcher(subject::options());
  const std::size_t before = subject::open_descriptors();
  for (int round = 1; round != 4; ++round) {
    running m("subject", {}, launcher);
    subject::call c;
    m.start(c, "keep");
    REQUIRE(m.ask("count") == "value: 1");
    CHECK(launcher.helpers_started() == static_cast<std::uint32_t>(round));
    // The parent of the module's process, or its parent: either end ends all.
    std::string path = "/proc/" + std::to_string(m->process_id()) + "/stat";
    std::FILE* const file = std::fopen(path.c_str(), "r");
    REQUIRE(file != nullptr);
    int helper = 0;
    const int read = std::fscanf(file, "%*d (%*[^)]) %*c %d", &helper);
    std::fclose(file);
    REQUIRE(read == 1);
    REQUIRE(::kill(helper, SIGKILL) == 0);
    REQUIRE(c.ended.wait());
    CHECK(c.outcome().find("worker crashed: the helper of its sandbox has ended") == 0);
    REQUIRE(m.owner().end.wait());
    CHECK(m.owner().failures == 1);
  }
  CHECK(subject::open_descriptors() <= before + 8);
}

TEST_CASE("A start that nobody wants any more ends at once") {
  troupe::detail::process_launcher launcher(subject::options());
  subject::owner owner;
  const troupe::module_permissions none;
  auto start = [&]() -> troupe::task<std::string> {
    troupe::detail::module_launch launch{"hangs",         "",   subject::image("hangs"), none,
                                         subject::pool(), owner};
    auto starting = launcher.start(launch);
    auto limited = troupe::within(std::move(starting), std::chrono::milliseconds(200));
    const auto outcome = co_await troupe::as_result(std::move(limited));
    co_return outcome.code().message();
  };
  CHECK(troupe::sync_wait(start()) == "timed out");
  CHECK(owner.ends == 0);
}
