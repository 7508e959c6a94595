// SPDX-License-Identifier: MIT
// A new module beside the old one.

#include <troupe/function.hpp>

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include "kit.hpp"

namespace reload_tests {

using namespace std::chrono_literals;
using functions_kit::bytes_of;
using functions_kit::error_of;
using functions_kit::in_process;
using functions_kit::is;
using functions_kit::module_path;

namespace {

constexpr troupe::function_request mean{.module = "calculator", .func = "mean"};

troupe::task<double> mean_of(troupe::function_host& host, double a, double b) {
  co_return co_await host.trigger<double>(mean, a, b);
}

void say_where(int reloads, const troupe::function_stats& s) {
  std::fprintf(stderr,
               "reload %d: %zu workers, %zu starting, %zu ending, %zu running, %zu waiting; %llu "
               "calls, %llu starts, %llu failed, %llu reloads\n",
               reloads, s.workers, s.starting, s.ending, s.running, s.waiting,
               static_cast<unsigned long long>(s.calls), static_cast<unsigned long long>(s.starts),
               static_cast<unsigned long long>(s.failed_starts),
               static_cast<unsigned long long>(s.reloads));
}

}  // namespace

TEST_CASE("reload remembers the version, and new calls go to the new module") {
  troupe::broker broker({.threads = 2});
  troupe::function_host host(broker, in_process());
  functions_kit::load_from_tests(host);
  const auto calls = [](troupe::function_host& h) -> troupe::task<> {
    co_await h.reload("calculator", "v1.0.0");
    CHECK(h.stats().starts == 0);  // nothing ran: the next call loads it
    const double one = co_await mean_of(h, 2, 4);
    CHECK(one == 3);
    co_await h.reload("calculator", "v2.0.0");
    const double two = co_await mean_of(h, 2, 4);
    CHECK(two == 1.5);
    const troupe::error e = co_await error_of(h.reload("calculator", "v9.9.9"));
    CHECK(is(e, troupe::errc::no_such_module));
    const double still = co_await mean_of(h, 2, 4);
    CHECK(still == 1.5);
    for (int tick = 0; tick < 5000 && h.stats().workers != 1; ++tick) {
      co_await troupe::sleep_for(1ms);
    }
    CHECK(h.stats().workers == 1);
  };
  broker.run(calls(host));
}

TEST_CASE("the old module goes when its last call has ended, not before") {
  troupe::broker broker({.threads = 2});
  troupe::function_host host(broker, in_process());
  functions_kit::load_from_tests(host);
  const auto slow = [](troupe::function_host& h) -> troupe::task<int> {
    co_return co_await h.trigger<int>({.module = "calculator", .func = "sleep"}, 150);
  };
  const auto swap = [](troupe::function_host& h) -> troupe::task<> {
    for (int tick = 0; tick < 5000 && h.stats().running == 0; ++tick) {
      co_await troupe::sleep_for(1ms);
    }
    co_await h.reload("calculator", "v2.0.0");
    CHECK(h.stats().running == 1);
    CHECK(h.stats().ending == 1);
    const double two = co_await mean_of(h, 2, 4);
    CHECK(two == 1.5);
  };
  const auto both = [&](troupe::function_host& h) -> troupe::task<> {
    co_await h.reload("calculator", "v1.0.0");
    const auto [slept, nothing] = co_await troupe::when_all(slow(h), swap(h));
    CHECK(slept == 150);
    static_cast<void>(nothing);
    for (int tick = 0; tick < 5000 && h.stats().workers != 1; ++tick) {
      co_await troupe::sleep_for(1ms);
    }
    CHECK(h.stats().workers == 1);
  };
  broker.run(both(host));
}

TEST_CASE("a reload returns though others reload faster than the module loads") {
  troupe::broker broker({.threads = 2});
  troupe::detail::atomic<int> begun{0};
  troupe::detail::atomic<int> over{0};
  troupe::detail::atomic<int> wrong{0};  // the reloads are on several threads, and Catch is not
  bool fails = false;
  SECTION("it loads") {}
  SECTION("it does not load any more") { fails = true; }
  troupe::function_host host(broker, in_process());
  host.define_loader([&](std::string_view, std::string_view) -> troupe::task<std::string> {
    const int number = begun.fetch_add(1, troupe::detail::order::acq_rel) + 1;
    co_await troupe::sleep_for(20ms);
    if (fails && number > 1) throw std::runtime_error("it is gone");
    co_return module_path("calculator-v1.0.0");
  });
  constexpr int most = 1500;
  const auto one = [&](troupe::function_host& h) -> troupe::task<> {
    const int before = begun.load(troupe::detail::order::acquire);
    const auto how = co_await troupe::as_result(h.reload("calculator"));
    const bool is_as_it_should = how.has_value() == !fails;
    // It has not taken the end of what had begun before it for its own.
    const bool is_its_own = begun.load(troupe::detail::order::acquire) > before;
    if (!is_as_it_should || !is_its_own) wrong.fetch_add(1, troupe::detail::order::acq_rel);
    over.fetch_add(1, troupe::detail::order::acq_rel);
  };
  const auto calls = [&](troupe::function_host& h) -> troupe::task<> {
    static_cast<void>(co_await mean_of(h, 2, 4));
    int asked = 0;
    const auto storm = [&](troupe::task_scope& scope) -> troupe::task<> {
      for (; asked < most && over.load(troupe::detail::order::acquire) < 10; ++asked) {
        scope.spawn(one(h));
        co_await troupe::sleep_for(2ms);
      }
    };
    co_await troupe::with_scope(storm);
    CHECK(asked < most);
    CHECK(over.load(troupe::detail::order::acquire) == asked);
    CHECK(wrong.load(troupe::detail::order::acquire) == 0);
    const double still = co_await mean_of(h, 2, 4);
    CHECK(still == 3);
  };
  broker.run(calls(host));
}

TEST_CASE("a file that has changed is loaded by itself; a bad one is not") {
  const functions_kit::folder at;
  const std::string first = bytes_of(module_path("calculator-v1.0.0"));
  const std::string second = bytes_of(module_path("calculator-v2.0.0"));
  const std::string path = at.put("calculator.so", first);
  troupe::broker broker({.threads = 2});
  auto options = in_process();
  options.watch_files = 10ms;
  troupe::function_host host(broker, options);
  host.define_loader([path](std::string_view, std::string_view) { return path; });
  const auto until_mean_is = [](troupe::function_host& h, double wanted) -> troupe::task<bool> {
    for (int tick = 0; tick < 2000; ++tick) {
      const double now = co_await mean_of(h, 2, 4);
      if (now == wanted) co_return true;
      co_await troupe::sleep_for(5ms);
    }
    co_return false;
  };
  CHECK(broker.run(until_mean_is(host, 3)));
  at.put("calculator.so", second);
  CHECK(broker.run(until_mean_is(host, 1.5)));
  at.put("calculator.so", "garbage");
  const auto until_failed = [](troupe::function_host& h) -> troupe::task<> {
    for (int tick = 0; tick < 2000 && h.stats().failed_starts == 0; ++tick) {
      co_await troupe::sleep_for(5ms);
    }
    CHECK(h.stats().failed_starts == 1);
    const double still = co_await mean_of(h, 2, 4);
    CHECK(still == 1.5);
  };
  broker.run(until_failed(host));
  at.put("calculator.so", first);
  CHECK(broker.run(until_mean_is(host, 3)));
}

TEST_CASE("files are looked at while reloads bring others into their place") {
  const functions_kit::folder at;
  const std::string bytes = bytes_of(module_path("calculator-v1.0.0"));
  // Names of different lengths: whoever still read the old one would read what has been freed.
  std::vector<std::string> paths;
  for (int i = 0; i < 8; ++i) {
    paths.push_back(at.put(std::string(static_cast<std::size_t>(1 + 20 * i), 'c') + ".so", bytes));
  }
  troupe::detail::atomic<unsigned> loads{0};
  troupe::broker broker({.threads = 2});
  auto options = in_process();
  options.watch_files = 1ms;
  troupe::function_host host(broker, options);
  host.define_loader([&](std::string_view, std::string_view) {
    return paths[loads.fetch_add(1, troupe::detail::order::relaxed) % paths.size()];
  });
  const auto reloads = [](troupe::function_host& h) -> troupe::task<> {
    for (int i = 0; i < 60; ++i) {
      co_await h.reload("calculator");
      const double d = co_await mean_of(h, 2, 4);
      CHECK(d == 3);
    }
  };
  broker.run(reloads(host));
  CHECK(host.stats().failed_starts == 0);
}

TEST_CASE("a thousand reloads under load lose no call and leave nothing behind") {
  constexpr int most = 1000;
  constexpr auto longest = 90s;  // where the machine is slow, fewer do
  constexpr int warm = 50;
  troupe::broker broker({.threads = 2});
  std::size_t files = 0;
  std::size_t threads = 0;
  std::size_t resident = 0;
  {
    troupe::function_host host(broker, in_process());
    functions_kit::load_from_tests(host);
    troupe::detail::atomic<bool> done{false};
    std::uint64_t calls = 0;
    troupe::detail::atomic<int> reloads{0};
    const auto load = [&](troupe::function_host& h) -> troupe::task<> {
      while (!done) {
        const double d = co_await mean_of(h, 2, 4);
        if (d != 3 && d != 1.5) FAIL("a wrong result");
        const int n = co_await h.trigger<int>({.module = "calculator", .func = "sleep"}, 1);
        if (n != 1) FAIL("a wrong result");
        calls += 2;
      }
    };
    const auto reload = [&](troupe::function_host& h) -> troupe::task<> {
      const auto until = troupe::steady_now() + longest;
      for (int i = 0; i < most && (i < 2 * warm || troupe::steady_now() < until); ++i) {
        if (i == warm) {
          files = functions_kit::open_files();
          threads = functions_kit::threads();
          resident = troupe::resident_memory();
        }
        co_await h.reload("calculator", i % 2 == 0 ? "v2.0.0" : "v1.0.0");
        reloads.store(i + 1, troupe::detail::order::relaxed);
      }
      done = true;
    };
    // Whoever has to wait for this test sees where it stands, or hangs.
    const auto tell = [&](troupe::function_host& h) -> troupe::task<> {
      for (int tick = 1; !done; ++tick) {
        co_await troupe::sleep_for(100ms);
        if (tick % 100 == 0) say_where(reloads.load(troupe::detail::order::relaxed), h.stats());
      }
    };
    const auto all = [&](troupe::function_host& h) -> troupe::task<> {
      co_await h.reload("calculator", "v1.0.0");
      static_cast<void>(co_await mean_of(h, 2, 4));
      co_await troupe::when_all(reload(h), load(h), tell(h));
    };
    broker.run(all(host));
    const troupe::function_stats stats = host.stats();
    CHECK(stats.reloads == static_cast<std::uint64_t>(reloads.load()));
    CHECK(stats.failed_starts == 0);
    CHECK(stats.calls == calls + 1);
    CHECK(stats.lingering == 0);
    CHECK(functions_kit::open_files() <= files + 4);
    CHECK(functions_kit::threads() <= threads + 8);
    INFO("resident before: " << resident << ", after: " << troupe::resident_memory());
#if !TROUPE_ASAN && !TROUPE_TSAN
    CHECK(troupe::resident_memory() < resident + (std::size_t{16} << 20));
#endif
  }
  CHECK(functions_kit::mapped_modules() == 0);
}

}  // namespace reload_tests
