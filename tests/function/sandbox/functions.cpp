// SPDX-License-Identifier: MIT
// Functions of real modules, called through a host that keeps them in processes.

#include <support/catch.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <signal.h>
#include <unistd.h>

#include <troupe.hpp>
#include <troupe/function.hpp>
#include <troupe/function/process_launcher.hpp>

#include "subject.hpp"

using namespace std::chrono_literals;

namespace {

std::string path_of(std::string_view module, std::string_view version) {
  if (module == "subject") return subject::module_path("subject");
  return std::string(TROUPE_TEST_MODULES "/") + std::string(module) + "-" + std::string(version) +
         ".so";
}

struct setting {
  explicit setting(troupe::function_host_options options = {})
      : host(broker, with(options, launcher)) {
    host.define_loader(path_of);
  }
  static troupe::function_host_options with(troupe::function_host_options options,
                                            troupe::detail::process_launcher& by) {
    options.kept = troupe::isolation::process;
    options.processes = &by;
    return options;
  }
  troupe::detail::process_launcher launcher{subject::options()};
  troupe::broker broker{{.threads = 2}};
  troupe::function_host host;
};

troupe::function_request of_calculator(std::string_view func) {
  return {.module = "calculator", .version = "v1.0.0", .func = func};
}
troupe::function_request of_subject(std::string_view func) {
  return {.module = "subject", .version = "v1.0.0", .func = func};
}

/// What an awaited call fails with; "nothing" if it does not.
template <class T>
troupe::task<std::string> error_of(T call) {
  const auto outcome = co_await troupe::as_result(std::move(call));
  if (outcome.has_value()) co_return "nothing";
  try {
    outcome.value();
  } catch (const std::exception& e) {
    co_return e.what();
  }
  co_return "something else";
}

std::size_t entries_of(const char* path) {
  std::size_t count = 0;
  for (const auto& one : std::filesystem::directory_iterator(path)) count += one.exists() ? 1 : 0;
  return count;
}

/// Below this process stands its helper, below that the first process of the sandboxes, and below
/// that a process for each module, whether it lives or is a zombie.
std::vector<int> processes_of_modules() {
  std::map<int, int> parents;
  std::error_code failed;  // processes come and go meanwhile
  for (const auto& one : std::filesystem::directory_iterator("/proc", failed)) {
    const int process = std::atoi(one.path().filename().c_str());
    if (process == 0) continue;
    std::ifstream file(one.path() / "stat");
    std::string text;
    std::getline(file, text);
    const std::size_t behind_name = text.rfind(')');
    if (behind_name == std::string::npos) continue;
    parents[process] = std::atoi(text.c_str() + behind_name + 4);  // ") S parent"
  }
  std::vector<int> found;
  const auto parent_of = [&parents](int process) {
    const auto at = parents.find(process);
    return at != parents.end() ? at->second : 0;
  };
  for (const auto& [process, parent] : parents) {
    if (parent_of(parent_of(parent)) == ::getpid()) found.push_back(process);
  }
  return found;
}

bool begins(const std::string& text, std::string_view with) { return text.find(with) == 0; }

/// Some call is before the module.
troupe::task<> until_one_runs(troupe::function_host& host) {
  for (int i = 0; i != 20'000 && host.stats().running == 0; ++i) co_await troupe::sleep_for(1ms);
}

}  // namespace

TEST_CASE("A module of the library's own kind works in a process") {
  setting s;
  const auto calls = [](troupe::function_host& host) -> troupe::task<> {
    const double d = co_await host.trigger<double>(of_calculator("mean"), 2.0, 3.0);
    CHECK(d == 2.5);
    const std::string text = co_await host.trigger<std::string>(of_calculator("hello"), "World");
    CHECK(text == "Hello World");
    co_await host.trigger<void>(of_calculator("nothing"));
    const int slept = co_await host.trigger<int>(of_calculator("sleep"), 2);
    CHECK(slept == 2);
    static_cast<void>(co_await host.trigger<double>(of_calculator("add"), 1.0, 2.0));
    static_cast<void>(co_await host.trigger<double>(of_calculator("add"), 1.0, 2.0));
    const int count = co_await host.trigger<int>(of_calculator("count"));
    CHECK(count == 2);
    const std::string large(3'000'000, 'l');
    const std::string back = co_await host.trigger<std::string>(of_calculator("echo_text"), large);
    CHECK(back == large);
    const std::string thrown = co_await error_of(host.trigger<void>(of_calculator("throw_range")));
    CHECK(thrown.find("index 7") != std::string::npos);
    // It can start no thread, and says so to its caller alone.
    const std::string no_thread =
        co_await error_of(host.trigger<int>(of_calculator("on_a_thread"), 1));
    CHECK(no_thread != "nothing");
    const double again = co_await host.trigger<double>(of_calculator("mean"), 4.0, 4.0);
    CHECK(again == 4.0);
  };
  s.broker.run(calls(s.host));
  CHECK(s.host.stats().crashes == 0);
  CHECK(s.host.stats().workers == 1);
}

TEST_CASE("A host has a sandbox of its own, and refuses less than is required") {
  troupe::broker broker{{.threads = 2}};
  troupe::function_host_options options;
  options.sandbox = subject::options();
  troupe::function_host host(broker, options);
  host.define_loader(path_of);
  const auto mean = [](troupe::function_host& h) -> troupe::task<double> {
    const double d = co_await h.trigger<double>(of_calculator("mean"), 2.0, 3.0);
    co_return d;
  };
  CHECK(broker.run(mean(host)) == 2.5);
  const troupe::sandbox_level given = host.sandbox_level();
  CHECK(given.covers(troupe::sandbox_level::process()));
  host.require(given);
  const troupe::sandbox_level more(~std::uint32_t{0});
  try {
    host.require(more);
    FAIL("a level that nobody has was granted");
  } catch (const troupe::error& e) {
    CHECK(e.code() == troupe::errc::refused);
  }
  broker.run(host.terminate());
  CHECK(broker.run(mean(host)) == 2.5);

  options.sandbox.require = more;
  troupe::function_host strict(broker, options);
  strict.define_loader(path_of);
  const auto failing = [](troupe::function_host& h) -> troupe::task<std::string> {
    const std::string why = co_await error_of(h.trigger<double>(of_calculator("mean"), 2.0, 3.0));
    co_return why;
  };
  CHECK(broker.run(failing(strict)).find("the sandbox lacks") != std::string::npos);
}

TEST_CASE("A run-away is ended at its limit, and the next call has another process") {
  setting s;
  const auto calls = [](troupe::function_host& host) -> troupe::task<> {
    static_cast<void>(co_await host.trigger<double>(of_calculator("mean"), 1.0, 2.0));
    for (const char* act : {"loop", "sleep", "ignore_signals", "never"}) {
      static_cast<void>(co_await host.trigger(of_subject("echo")));
      const auto begun = troupe::steady_now();
      troupe::function_request r = of_subject(act);
      r.limit = 100ms;
      const std::string late = co_await error_of(host.trigger(r));
      INFO(act);
      CHECK(late.substr(0, 9) == "timed out");
      CHECK(troupe::steady_now() - begun < 30s);
    }
    const double d = co_await host.trigger<double>(of_calculator("mean"), 1.0, 2.0);
    CHECK(d == 1.5);
    static_cast<void>(co_await host.trigger(of_subject("echo")));
  };
  s.broker.run(calls(s.host));
}

TEST_CASE("A call that lies unbegun behind a long one is taken back at its limit") {
  setting s;
  const auto calls = [](troupe::function_host& host) -> troupe::task<> {
    static_cast<void>(co_await host.trigger(of_subject("echo")));
    const auto counted = [](troupe::function_host& h) -> troupe::task<std::string> {
      co_await until_one_runs(h);
      troupe::function_request r = of_subject("count");
      r.limit = 100ms;
      const std::string why = co_await error_of(h.trigger(r));
      co_return why;
    };
    const auto stopped = [](troupe::function_host& h) -> troupe::task<> {
      co_await until_one_runs(h);
      auto first = troupe::when_any(h.trigger(of_subject("count")), troupe::sleep_for(50ms));
      const auto winner = co_await std::move(first);
      CHECK(winner.index() == 1);
    };
    const auto long_one = [](troupe::function_host& h) -> troupe::task<std::string> {
      troupe::function_request r = of_subject("work");
      r.payload = "800";
      const std::string why = co_await error_of(h.trigger(r));
      co_return why;
    };
    auto all = troupe::when_all(long_one(host), counted(host), counted(host), stopped(host));
    const auto [fine, late, late_too, nothing] = co_await std::move(all);
    CHECK(fine == "nothing");
    CHECK(begins(late, "deadline passed before the start"));
    CHECK(begins(late_too, "deadline passed before the start"));
    // Nobody was killed, and none of them has run.
    const auto reply = co_await host.trigger(of_subject("count"));
    CHECK(reply.size() == 1);
    CHECK(reply.bytes()[0] == std::byte{'1'});
  };
  s.broker.run(calls(s.host));
  CHECK(s.host.stats().crashes == 0);
  CHECK(s.host.stats().starts == 1);
}

TEST_CASE("Who is asked to stop goes on at once, and harms nobody who waits for another call") {
  troupe::function_host_options options;
  options.cancel_grace = 60s;
  setting s(options);
  const auto calls = [](troupe::function_host& host) -> troupe::task<> {
    static_cast<void>(co_await host.trigger(of_subject("echo")));
    const auto leaves = [](troupe::function_host& h) -> troupe::task<> {
      const auto until_it_runs = [](troupe::function_host& one) -> troupe::task<> {
        static_cast<void>(co_await one.trigger(of_subject("echo")));
        co_await troupe::sleep_for(20ms);
      };
      auto first = troupe::when_any(h.trigger(of_subject("hold")), until_it_runs(h));
      const auto winner = co_await std::move(first);
      CHECK(winner.index() == 1);
      // The process lives on for the other call, which ends well.
      co_await troupe::sleep_for(300ms);
      CHECK(h.stats().crashes == 0);
      static_cast<void>(co_await h.trigger(of_subject("release")));
    };
    auto both = troupe::when_all(error_of(host.trigger(of_subject("keep"))), leaves(host));
    const auto [kept, nothing] = co_await std::move(both);
    CHECK(kept == "nothing");
    CHECK(host.stats().crashes == 0);
  };
  s.broker.run(calls(s.host));
}

TEST_CASE("A process that does not let go of a call that nobody waits for is killed") {
  troupe::function_host_options options;
  options.cancel_grace = 200ms;
  setting s(options);
  const auto leave = [](troupe::function_host& h) -> troupe::task<> {
    auto first = troupe::when_any(h.trigger(of_subject("hold")), troupe::sleep_for(50ms));
    static_cast<void>(co_await std::move(first));
  };
  const auto until_killed = [](troupe::function_host& h, std::uint64_t crashes) -> troupe::task<> {
    for (int i = 0; i != 20'000 && h.stats().crashes != crashes; ++i) {
      co_await troupe::sleep_for(1ms);
    }
    CHECK(h.stats().crashes == crashes);
  };
  const auto alone = [&](troupe::function_host& h) -> troupe::task<> {
    static_cast<void>(co_await h.trigger(of_subject("echo")));
    co_await leave(h);
    co_await until_killed(h, 1);
    static_cast<void>(co_await h.trigger(of_subject("echo")));
  };
  auto first = [&]() -> troupe::task<> { co_await alone(s.host); };
  s.broker.run(first());
  // With another's call in it, that call is waited for, but not for ever.
  const auto beside = [&](troupe::function_host& h) -> troupe::task<> {
    const auto left_and_killed = [&](troupe::function_host& one) -> troupe::task<> {
      co_await leave(one);
      co_await until_killed(one, 2);
    };
    auto both = troupe::when_all(error_of(h.trigger(of_subject("keep"))), left_and_killed(h));
    const auto [kept, nothing] = co_await std::move(both);
    CHECK(begins(kept, "worker crashed"));
  };
  auto second = [&]() -> troupe::task<> { co_await beside(s.host); };
  s.broker.run(second());
}

TEST_CASE("A process that uses the processor for nothing is killed, one that may is not") {
  setting s;
  troupe::module_options may;
  may.permissions.idle_processor = 2;
  s.host.define_module("subject", may);
  const auto calls = [](troupe::function_host& host) -> troupe::task<> {
    static_cast<void>(co_await host.trigger(of_subject("burn")));
    co_await troupe::sleep_for(2500ms);
    CHECK(host.stats().crashes == 0);
    static_cast<void>(co_await host.trigger(of_subject("echo")));
  };
  s.broker.run(calls(s.host));
  // A machine that has others to serve gives it little: little is too much here.
  setting strict;
  may.permissions.idle_processor = 0.005;
  strict.host.define_module("subject", may);
  const auto kills = [](troupe::function_host& host) -> troupe::task<> {
    const double kept = co_await host.trigger<double>(of_calculator("mean"), 1.0, 2.0);
    CHECK(kept == 1.5);
    static_cast<void>(co_await host.trigger(of_subject("burn")));
    for (int i = 0; i != 40'000 && host.stats().crashes == 0; ++i) {
      co_await troupe::sleep_for(1ms);
    }
    CHECK(host.stats().crashes == 1);
    static_cast<void>(co_await host.trigger(of_subject("echo")));
    CHECK(host.stats().starts == 3);
  };
  strict.broker.run(kills(strict.host));
}

TEST_CASE("A process whose only call computes over several looks lives on") {
  setting s;
  troupe::module_options strict;
  strict.permissions.idle_processor = 0.05;
  s.host.define_module("subject", strict);
  const auto calls = [](troupe::function_host& host) -> troupe::task<> {
    troupe::function_request r = of_subject("work");
    r.payload = "2700";  // ends between two looks, of which the first has seen it
    static_cast<void>(co_await host.trigger(r));
    co_await troupe::sleep_for(2500ms);
    CHECK(host.stats().crashes == 0);
    static_cast<void>(co_await host.trigger(of_subject("echo")));
    CHECK(host.stats().starts == 1);
  };
  s.broker.run(calls(s.host));
}

TEST_CASE("A process whose calls have short limits is killed if it hangs between them") {
  troupe::function_host_options options;
  options.stall_limit = 200ms;
  setting s(options);
  const auto calls = [](troupe::function_host& host) -> troupe::task<> {
    static_cast<void>(co_await host.trigger(of_subject("hang_later")));
    troupe::function_request r = of_subject("echo");
    r.limit = 20ms;
    const std::string why = co_await error_of(host.trigger(r));
    CHECK(begins(why, "deadline passed before the start"));
    // It was taken back, and the process is to pass it.
    for (int i = 0; i != 20'000 && host.stats().crashes == 0; ++i) {
      co_await troupe::sleep_for(1ms);
    }
    CHECK(host.stats().crashes == 1);
    static_cast<void>(co_await host.trigger(of_subject("echo")));
  };
  s.broker.run(calls(s.host));
}

TEST_CASE("A process that hangs between its calls is killed, and another gets them") {
  troupe::function_host_options options;
  options.stall_limit = 200ms;
  setting s(options);
  const auto calls = [](troupe::function_host& host) -> troupe::task<> {
    static_cast<void>(co_await host.trigger(of_subject("hang_later")));
    // Without a limit: only the host can know that this comes to nothing.
    const auto reply = co_await host.trigger(of_subject("echo"));
    CHECK(reply.size() == 0);
    CHECK(host.stats().crashes == 1);
  };
  s.broker.run(calls(s.host));
}

TEST_CASE("A crash is its callers' error, and nobody else's") {
  setting s;
  const auto calls = [](troupe::function_host& host) -> troupe::task<> {
    const double before = co_await host.trigger<double>(of_calculator("mean"), 1.0, 2.0);
    CHECK(before == 1.5);
    for (const char* act : {"crash", "abort", "exit", "fork_bomb", "open_socket"}) {
      const std::string why = co_await error_of(host.trigger(of_subject(act)));
      CHECK(begins(why, "worker crashed"));
      const std::string alive = co_await error_of(host.trigger(of_subject("echo")));
      CHECK(alive == "nothing");
      const double d = co_await host.trigger<double>(of_calculator("mean"), 1.0, 2.0);
      CHECK(d == 1.5);
    }
  };
  s.broker.run(calls(s.host));
  CHECK(s.host.stats().crashes == 5);
  CHECK(s.launcher.helpers_started() == 1);
}

TEST_CASE(
    "Processes killed at random under a host's load cost no call its end, and leave nothing") {
  constexpr int most_kills = 150;
  constexpr int tenants = 4;
  constexpr auto longest = 20s;
  setting s;
  s.host.define_module("calculator", {.per_key = true});
  troupe::detail::atomic<bool> done{false};
  troupe::detail::atomic<std::uint64_t> well{0};
  troupe::detail::atomic<std::uint64_t> badly{0};
  troupe::detail::atomic<std::uint64_t> unexpected{0};
  const auto call = [&](troupe::function_host& h, int tenant) -> troupe::task<> {
    const std::string key = std::to_string(tenant);
    bool again = true;
    while (again) {
      troupe::function_request r = of_calculator("mean");
      r.key = key;
      r.limit = 60s;
      const std::string how = co_await error_of(h.trigger<double>(r, 2.0, 4.0));
      const bool is_named = begins(how, "worker crashed") || begins(how, "worker failed to start");
      if (how != "nothing" && !is_named) unexpected.fetch_add(1);
      (how == "nothing" ? well : badly).fetch_add(1);
      again = !done.load();
    }
  };
  const auto all = [&](troupe::function_host& h) -> troupe::task<> {
    std::vector<troupe::task<>> calls;
    for (int i = 0; i != 2 * tenants; ++i) calls.push_back(call(h, i % tenants));
    co_await troupe::when_all(std::move(calls));
    co_await h.terminate();
  };
  done = true;  // a first round without kills: what stays for good is there behind it
  s.broker.run(all(s.host));
  const std::size_t descriptors = subject::open_descriptors();
  const std::size_t threads = entries_of("/proc/self/task");
  const std::size_t resident = troupe::resident_memory();
  done = false;
  int kills = 0;
  std::thread killer([&] {
    std::uint64_t random = 4711;
    const auto until = troupe::steady_now() + longest;
    while (kills != most_kills && troupe::steady_now() < until) {
      std::this_thread::sleep_for(std::chrono::microseconds(troupe::splitmix64(random) % 20'000));
      const std::vector<int> alive = processes_of_modules();
      if (alive.empty()) continue;
      const int one = alive[troupe::splitmix64(random) % alive.size()];
      if (::kill(one, SIGKILL) == 0) ++kills;
    }
    done = true;
  });
  s.broker.run(all(s.host));
  killer.join();
  INFO(kills << " kills, " << well.load() << " calls went well, " << badly.load() << " did not");
  CHECK(unexpected.load() == 0);
  CHECK(kills > 0);
  CHECK(well.load() > 0);
  const troupe::function_stats stats = s.host.stats();
  CHECK(stats.workers == 0);
  CHECK(stats.running == 0);
  CHECK(stats.waiting == 0);
  CHECK(stats.calls == well.load() + badly.load());
  CHECK(processes_of_modules().empty());  // zombies would be among them
  CHECK(s.launcher.helpers_started() == 1);
  // What belonged to those that were killed last may still be on its way to its end.
  const auto late = troupe::steady_now() + 20s;
  const auto is_over = [&] {
    return subject::open_descriptors() <= descriptors + 4 &&
           entries_of("/proc/self/task") <= threads + 4;
  };
  while (!is_over() && troupe::steady_now() < late) std::this_thread::sleep_for(10ms);
  CHECK(subject::open_descriptors() <= descriptors + 4);
  CHECK(entries_of("/proc/self/task") <= threads + 4);
#if !TROUPE_ASAN && !TROUPE_TSAN
  CHECK(troupe::resident_memory() < resident + (std::size_t{16} << 20));
#else
  static_cast<void>(resident);
#endif
}

TEST_CASE("Reloads under load in processes lose no call, and leave no process") {
  constexpr int most = 200;
  constexpr auto longest = 30s;
  setting s;
  troupe::detail::atomic<bool> done{false};
  int reloads = 0;
  std::uint64_t calls = 0;
  const auto load = [&](troupe::function_host& h) -> troupe::task<> {
    while (!done.load()) {
      const double d =
          co_await h.trigger<double>({.module = "calculator", .func = "mean"}, 2.0, 4.0);
      if (d != 3) FAIL("a wrong result");
      ++calls;
    }
  };
  const auto reload = [&](troupe::function_host& h) -> troupe::task<> {
    const auto until = troupe::steady_now() + longest;
    while (reloads != most && troupe::steady_now() < until) {
      co_await h.reload("calculator");
      ++reloads;
    }
    done = true;
  };
  const auto all = [&](troupe::function_host& h) -> troupe::task<> {
    co_await h.reload("calculator", "v1.0.0");
    static_cast<void>(
        co_await h.trigger<double>({.module = "calculator", .func = "mean"}, 2.0, 4.0));
    co_await troupe::when_all(reload(h), load(h));
  };
  s.broker.run(all(s.host));
  const troupe::function_stats stats = s.host.stats();
  CHECK(reloads > 0);
  CHECK(stats.reloads == static_cast<std::uint64_t>(reloads));
  CHECK(stats.failed_starts == 0);
  CHECK(stats.crashes == 0);
  CHECK(stats.calls == calls + 1);
  s.broker.run(s.host.terminate());
  CHECK(processes_of_modules().empty());
}

TEST_CASE("Modules in processes call each other where they may") {
  setting s;
  troupe::module_options may;
  may.permissions.may_call = {"calculator"};
  s.host.define_module("middleman", may);
  const auto calls = [](troupe::function_host& host) -> troupe::task<> {
    const troupe::function_request r{.module = "middleman", .version = "v1.0.0", .func = "mean"};
    const double d = co_await host.trigger<double>(r, 2.0, 4.0);
    CHECK(d == 3.0);
    troupe::function_request who = r;
    who.func = "who";
    const std::string seen = co_await host.trigger<std::string>(who);
    CHECK(seen == "middleman/");
    troupe::function_request call = r;
    call.func = "call";
    const std::string refused = co_await error_of(host.trigger<int>(call, "faulty", "value"));
    CHECK(begins(refused, "refused"));
  };
  s.broker.run(calls(s.host));
}

TEST_CASE("Tenants have processes of their own") {
  setting s;
  troupe::module_options apart;
  apart.per_key = true;
  s.host.define_module("subject", apart);
  const auto calls = [](troupe::function_host& host) -> troupe::task<> {
    troupe::function_request alice = of_subject("echo");
    alice.key = "alice";
    troupe::function_request bob = of_subject("echo");
    bob.key = "bob";
    static_cast<void>(co_await host.trigger(alice));
    static_cast<void>(co_await host.trigger(bob));
    CHECK(host.stats().workers == 2);
    alice.func = "crash";
    const std::string why = co_await error_of(host.trigger(alice));
    CHECK(begins(why, "worker crashed"));
    const std::string alive = co_await error_of(host.trigger(bob));
    CHECK(alive == "nothing");
  };
  s.broker.run(calls(s.host));
}

/// What the program knows of the module whose workers take notes.
struct inotes {
  void note(int number);
  std::vector<std::int32_t> notes() const;
};

TROUPE_METHODS(inotes, note, notes)

namespace {

class calculator_loader final : public troupe::detail::module_loader {
public:
  troupe::task<troupe::module_source> load(std::string module, std::string) override {
    co_return troupe::module_source(path_of(module, "v1.0.0"));
  }
};

/// What a library's proxies lead to, with processes that are found by the tests.
troupe::intrusive_ptr<troupe::detail::function_core> core_with(
    troupe::broker& b, troupe::detail::process_launcher& launcher) {
  troupe::intrusive_ptr<troupe::detail::function_core> core(
      new troupe::detail::function_core(b.runs_on(), setting::with({}, launcher)));
  core->set_loader(std::make_shared<calculator_loader>());
  return core;
}

bool are_numbers(const std::vector<std::int32_t>& notes, int count) {
  if (notes.size() != static_cast<std::size_t>(count)) return false;
  for (int i = 0; i != count; ++i) {
    if (notes[static_cast<std::size_t>(i)] != i) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("A worker in a process is told in order, and called behind that") {
  troupe::detail::process_launcher launcher(subject::options());
  troupe::broker broker({.threads = 2});
  const auto tells = [&launcher](troupe::broker& b) -> troupe::task<> {
    constexpr int in_a_step = 500;
    const auto core = core_with(b, launcher);
    auto& owner = troupe::detail::broker_access::core_of(b);
    std::vector<troupe::module_proxy<inotes>> all;
    for (const char* key : {"alice", "bob"}) all.emplace_back(owner, *core, "calculator", key);
    for (int step = 0; step != 6; ++step) {  // the first: before the process is there
      for (int i = 0; i != in_a_step; ++i) {
        for (const auto& p : all) CHECK(p.tell<&inotes::note>(step * in_a_step + i));
      }
      for (const auto& p : all) {
        const std::vector<std::int32_t> notes = co_await p->notes();
        CHECK(are_numbers(notes, (step + 1) * in_a_step));
      }
    }
    core->close();
    auto drained = core->drain(10s, true);
    co_await std::move(drained);
  };
  broker.run(tells(broker));
  CHECK(broker.stats().dead_letters == 0);
}

TEST_CASE("What is told while its process dies comes once, or is a dead letter") {
  troupe::detail::process_launcher launcher(subject::options());
  for (int round = 0; round != 5; ++round) {
    std::atomic<int> dead{0};
    troupe::broker_options options;
    options.threads = 2;
    options.on_dead_letter = [&dead](const troupe::dead_letter& l) {
      // With the process: whether it ran nobody knows.
      if (!l.reason) dead.fetch_add(1);
    };
    troupe::broker broker(options);
    const auto tells = [&](troupe::broker& b) -> troupe::task<> {
      constexpr int count = 3000;
      const auto core = core_with(b, launcher);
      troupe::module_proxy<inotes> p(troupe::detail::broker_access::core_of(b), *core, "calculator",
                                     "alice");
      const std::vector<std::int32_t> first = co_await p->notes();
      CHECK(first.empty());
      for (int i = 0; i != count; ++i) {
        CHECK(p.tell<&inotes::note>(i));
        if (i != count / 2) continue;
        for (const int process : processes_of_modules()) ::kill(process, SIGKILL);
      }
      // Those that were given back may come behind those that were told later.
      for (int i = 0; i != 20'000 && core->stats().calls <= count; ++i)
        co_await troupe::sleep_for(1ms);
      const std::vector<std::int32_t> notes = co_await p->notes();
      CHECK(core->stats().crashes == 1);
      const std::set<std::int32_t> different(notes.begin(), notes.end());
      CHECK(different.size() == notes.size());
      CHECK(notes.size() <= count);
      CHECK(!notes.empty());
      core->close();
      auto drained = core->drain(10s, true);
      co_await std::move(drained);
      CHECK(core->stats().calls == count + 2);
    };
    broker.run(tells(broker));
    CHECK(broker.stats().dead_letters == static_cast<std::uint64_t>(dead.load()));
  }
}
