// SPDX-License-Identifier: MIT
// Calls of modules that run in this process.

#include <troupe/function.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "kit.hpp"

namespace function_host_tests {

using namespace std::chrono_literals;
using functions_kit::error_of;
using functions_kit::in_process;
using functions_kit::is;
using functions_kit::load_from_tests;
using functions_kit::mean_v1;
using functions_kit::module_path;
using functions_kit::of_calculator;

/// Named, because Clang warns of what the codec asks of a type that nobody else can see.
namespace functions_test {

struct shopping {
  std::string what;
  std::vector<std::int32_t> how_many;
  std::optional<std::string> note;
};

}  // namespace functions_test

using functions_test::shopping;

namespace {

/// A broker with a host whose modules are those of the tests, in this process.
struct setting {
  explicit setting(troupe::function_host_options options = in_process()) : host(broker, options) {
    load_from_tests(host);
  }
  troupe::broker broker{{.threads = 2}};
  troupe::function_host host;
};

}  // namespace

TEST_CASE("a function is called, and its module loaded for it") {
  setting s;
  CHECK(s.host.stats().workers == 0);
  const auto calls = [](troupe::function_host& host) -> troupe::task<> {
    const double d = co_await host.trigger<double>(
        {.module = "calculator", .version = "v1.0.0", .func = "mean"}, 2.0, 3.0);
    CHECK(d == 2.5);
    const std::string text = co_await host.trigger<std::string>(of_calculator("hello"), "World");
    CHECK(text == "Hello World");
    co_await host.trigger<void>(of_calculator("nothing"));
    const int slept = co_await host.trigger<int>(of_calculator("sleep"), 2);
    CHECK(slept == 2);
    const int elsewhere = co_await host.trigger<int>(of_calculator("on_a_thread"), 2);
    CHECK(elsewhere == 3);
  };
  s.broker.run(calls(s.host));
  const troupe::function_stats stats = s.host.stats();
  CHECK(stats.workers == 1);
  CHECK(stats.idle == 1);
  CHECK(stats.running == 0);
  CHECK(stats.calls == 5);
  CHECK(stats.starts == 1);
}

TEST_CASE("values that others lose arrive") {
  setting s;
  const auto calls = [](troupe::function_host& host) -> troupe::task<> {
    const bool flag = co_await host.trigger<bool>(of_calculator("echo_flag"), false);
    CHECK(!flag);
    for (const std::int64_t n :
         {std::int64_t{0}, std::int64_t{-1}, (std::numeric_limits<std::int64_t>::min)()}) {
      const auto back = co_await host.trigger<std::int64_t>(of_calculator("echo_number"), n);
      CHECK(back == n);
    }
    const std::string zero("a\0b", 3);
    for (const std::string& text :
         {std::string(), std::string("null"), std::string("Grüße ✓"), zero}) {
      const auto back = co_await host.trigger<std::string>(of_calculator("echo_text"), text);
      CHECK(back == text);
    }
    const auto none = co_await host.trigger<std::optional<int>>(of_calculator("echo_maybe"),
                                                                std::optional<int>());
    CHECK(!none.has_value());
    const std::vector<std::byte> large(3'000'000, std::byte{0xa5});
    const auto back = co_await host.trigger<std::vector<std::byte>>(of_calculator("echo"), large);
    CHECK(back == large);
    shopping list{"apples", {3}, std::nullopt};
    const auto bought = co_await host.trigger<shopping>(of_calculator("buy"), list);
    CHECK(bought.what == "apples");
    CHECK(bought.how_many == std::vector<std::int32_t>{3, 1});
    CHECK(!bought.note);
  };
  s.broker.run(calls(s.host));
}

TEST_CASE("a payload is passed on as it is, and the reply comes back so") {
  setting s;
  const auto calls = [](troupe::function_host& host) -> troupe::task<> {
    const std::vector<std::byte> payload = troupe::encode(std::tuple(4.0, 8.0));
    const troupe::shared_bytes reply = co_await host.trigger(
        {.module = "calculator", .version = "v1.0.0", .func = "mean", .payload = payload});
    const troupe::result<double> mean = troupe::decode<double>(reply);
    CHECK(mean.value() == 6.0);
    const troupe::shared_bytes nothing = co_await host.trigger(of_calculator("nothing"));
    CHECK(nothing.empty());
    const std::vector<std::byte> garbage(40, std::byte{0x99});
    troupe::function_request bad = of_calculator("mean");
    bad.payload = garbage;
    const troupe::error e = co_await error_of(host.trigger(bad));
    CHECK(is(e, troupe::errc::bad_message));
    troupe::function_request json = of_calculator("mean");
    json.payload = "[1, 2]";
    json.format = troupe::payload_format::json;
    const troupe::error no_json = co_await error_of(host.trigger(json));
    CHECK(is(no_json, troupe::errc::bad_message));
  };
  s.broker.run(calls(s.host));
}

TEST_CASE("what a method throws arrives under its name") {
  setting s;
  const auto calls = [](troupe::function_host& host) -> troupe::task<> {
    try {
      co_await host.trigger<void>(of_calculator("throw_range"));
      FAIL("nothing was thrown");
    } catch (const troupe::module_error& e) {
      CHECK(e.type() == "std::out_of_range");
      CHECK(std::string(e.what()) == "index 7");
    }
    try {
      co_await host.trigger<void>(of_calculator("throw_number"));
      FAIL("nothing was thrown");
    } catch (const troupe::module_error& e) {
      CHECK(e.type() == "int");
    }
    const troupe::error e = co_await error_of(host.trigger<void>(of_calculator("throw_error")));
    CHECK(is(e, troupe::errc::refused));
    CHECK(e.detail() == "not today");
    CHECK(e.worker().type == "calculator@v1.0.0");
  };
  s.broker.run(calls(s.host));
}

TEST_CASE("each fault has its own error, and harms nobody else") {
  setting s;
  s.host.define_loader([](std::string_view module, std::string_view version) {
    if (module == "thrower") throw std::runtime_error("the shelf is empty");
    return module_path(std::string(module) + (version.empty() ? "" : "-" + std::string(version)));
  });
  const auto fails = [](troupe::function_host& host, const char* module, const char* version,
                        const char* function, troupe::errc code,
                        const char* text) -> troupe::task<> {
    const troupe::error e = co_await error_of(
        host.trigger<void>({.module = module, .version = version, .func = function}));
    INFO(e.what());
    CHECK(is(e, code));
    CHECK(e.detail().find(text) != std::string::npos);
    const double d = co_await host.trigger<double>(mean_v1, 1.0, 1.0);
    CHECK(d == 1.0);
  };
  using troupe::errc;
  s.broker.run(fails(s.host, "thrower", "", "f", errc::no_such_module, "the shelf is empty"));
  s.broker.run(fails(s.host, "unknown", "v9", "f", errc::no_such_module, "unknown-v9.so"));
  s.broker.run(fails(s.host, "raw_abi", "", "f", errc::start_failed, "interface"));
  s.broker.run(fails(s.host, "raw_no_entry", "", "f", errc::start_failed, "no module"));
  s.broker.run(fails(s.host, "raw_create", "", "f", errc::start_failed, "it does not want to"));
  s.broker.run(fails(s.host, "calculator", "v1.0.0", "no", errc::no_such_method, "'no'"));
  s.broker.run(fails(s.host, "calculator", "v1.0.0", "mean", errc::bad_message, "double mean"));
  s.broker.run(fails(s.host, "faulty", "v1.0.0", "value", errc::bad_message, "int value()"));
}

TEST_CASE("a class that cannot be made fails its calls, and says why") {
  setting s;
  const troupe::error e = s.broker.run(
      error_of(s.host.trigger<int>({.module = "faulty", .version = "v1.0.0", .func = "value"})));
  CHECK(is(e, troupe::errc::start_failed));
  CHECK(e.detail().find("the stock is empty") != std::string::npos);
}

TEST_CASE("without a loader, or without a place to run in, calls say so") {
  troupe::broker broker({.threads = 2});
  troupe::function_host no_loader(broker, in_process());
  CHECK(is(broker.run(error_of(no_loader.trigger<double>(mean_v1, 1.0, 2.0))),
           troupe::errc::no_such_module));
}

TEST_CASE("a failed start is tried again by the next call") {
  setting s;
  auto tries = std::make_shared<int>(0);
  s.host.define_loader([tries](std::string_view, std::string_view) {
    if (++*tries == 1) throw std::runtime_error("not yet");
    return module_path("calculator-v1.0.0");
  });
  CHECK(is(s.broker.run(error_of(s.host.trigger<double>(mean_v1, 1.0, 2.0))),
           troupe::errc::no_such_module));
  const auto call = [](troupe::function_host& host) -> troupe::task<double> {
    co_return co_await host.trigger<double>(mean_v1, 1.0, 2.0);
  };
  CHECK(s.broker.run(call(s.host)) == 1.5);
  CHECK(*tries == 2);
  CHECK(s.host.stats().failed_starts == 1);
}

TEST_CASE("repeated failures are spaced out") {
  setting s;
  auto tries = std::make_shared<int>(0);
  s.host.define_loader([tries](std::string_view, std::string_view) -> std::string {
    ++*tries;
    throw std::runtime_error("never");
  });
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 4; ++i) {
    static_cast<void>(s.broker.run(error_of(s.host.trigger<double>(mean_v1, 1.0, 2.0))));
  }
  CHECK(*tries == 4);
  // None, none, 50 ms, 100 ms.
  CHECK(std::chrono::steady_clock::now() - begin >= 150ms);
}

TEST_CASE("a loader may be a coroutine, and may give bytes") {
  setting s;
  s.host.define_loader(
      [](std::string_view, std::string_view) -> troupe::task<troupe::shared_bytes> {
        co_await troupe::sleep_for(1ms);
        co_return troupe::shared_bytes(functions_kit::bytes_of(module_path("calculator-v2.0.0")));
      });
  const auto call = [](troupe::function_host& host) -> troupe::task<double> {
    co_return co_await host.trigger<double>(mean_v1, 1.0, 3.0);
  };
  CHECK(s.broker.run(call(s.host)) == 1.0);
}

TEST_CASE("a module keeps its state between calls, for each key by itself") {
  setting s;
  const auto calls = [](troupe::function_host& host) -> troupe::task<> {
    for (int i = 0; i < 3; ++i) {
      static_cast<void>(co_await host.trigger<double>(of_calculator("add"), 1.0, 1.0));
    }
    troupe::function_request keyed = of_calculator("add");
    keyed.key = "alice";
    static_cast<void>(co_await host.trigger<double>(keyed, 1.0, 1.0));
    const int shared = co_await host.trigger<int>(of_calculator("count"));
    CHECK(shared == 3);
    keyed.func = "count";
    const int own = co_await host.trigger<int>(keyed);
    CHECK(own == 1);
  };
  s.broker.run(calls(s.host));
  CHECK(s.host.stats().workers == 1);
}

TEST_CASE("keys may have instances of their own") {
  setting s;
  troupe::module_options apart;
  apart.per_key = true;
  s.host.define_module("calculator", apart);
  const auto calls = [](troupe::function_host& host) -> troupe::task<> {
    for (const char* key : {"alice", "bob", "alice"}) {
      troupe::function_request r = of_calculator("add");
      r.key = key;
      static_cast<void>(co_await host.trigger<double>(r, 1.0, 1.0));
    }
  };
  s.broker.run(calls(s.host));
  CHECK(s.host.stats().workers == 2);
}

TEST_CASE("a module sees who calls, as the host knows it") {
  struct client {
    explicit client(troupe::function_host& h) : host(h) {}
    troupe::task<std::string> ask() {
      co_return co_await host.trigger<std::string>(of_calculator("who"));
    }
    troupe::task<std::string> ask_later() {
      co_return co_await host.trigger<std::string>(of_calculator("who_later"));
    }
    troupe::function_host& host;
  };
  setting s;
  troupe::function_host* host = &s.host;
  s.broker.provide<client>([host](troupe::context&) { return client(*host); });
  const auto calls = [](troupe::broker& b, troupe::function_host& h) -> troupe::task<> {
    auto alice = b.worker<client>("alice");
    const std::string seen = co_await alice.call<&client::ask>();
    CHECK(seen.ends_with("client/alice"));
    const std::string later = co_await alice.call<&client::ask_later>();
    CHECK(later.ends_with("client"));
    const std::string nobody = co_await h.trigger<std::string>(of_calculator("who"));
    CHECK(nobody == "/");
  };
  s.broker.run(calls(s.broker, s.host));
}

TEST_CASE("modules call each other where they may") {
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
    const troupe::error e = co_await error_of(host.trigger<int>(call, "faulty", "value"));
    CHECK(is(e, troupe::errc::refused));
    const troupe::error none = co_await error_of(host.trigger<int>(call, "calculator", "none"));
    CHECK(is(none, troupe::errc::no_such_module));
  };
  s.broker.run(calls(s.host));
}

TEST_CASE("a call with a limit settles in time, whatever the module does") {
  setting s;
  const auto calls = [](troupe::function_host& host) -> troupe::task<> {
    static_cast<void>(co_await host.trigger<double>(mean_v1, 1.0, 2.0));
    const troupe::error late =
        co_await error_of(host.trigger<int>(of_calculator("sleep"), 10'000).within(20ms));
    CHECK(is(late, troupe::errc::timed_out));
    troupe::function_request r = of_calculator("until_stopped");
    r.limit = 20ms;
    const troupe::error late_too = co_await error_of(host.trigger<void>(r));
    CHECK(is(late_too, troupe::errc::timed_out));
    const double d = co_await host.trigger<double>(mean_v1, 1.0, 2.0).within(10s);
    CHECK(d == 1.5);
  };
  s.broker.run(calls(s.host));
  CHECK(s.host.stats().waiting == 0);
}

TEST_CASE("a call that is asked to stop asks its module") {
  setting s;
  const auto calls = [](troupe::function_host& host) -> troupe::task<> {
    auto first = troupe::when_any(host.trigger<void>(of_calculator("until_stopped")),
                                  troupe::sleep_for(20ms));
    const auto winner = co_await std::move(first);
    CHECK(winner.index() == 1);
    // Its caller goes on at once; the function ends, because it was asked to.
    for (int i = 0; i != 20'000 && host.stats().running != 0; ++i) co_await troupe::sleep_for(1ms);
    CHECK(host.stats().running == 0);
  };
  s.broker.run(calls(s.host));
}

TEST_CASE("a slow start delays its own callers only, and a hung one fails them") {
  auto options = in_process();
  options.start_limit = 1s;
  setting s(options);
  s.host.define_loader([](std::string_view module, std::string_view) {
    return module_path(module == "slow" ? "raw_slow" : "calculator-v1.0.0");
  });
  const auto calls = [](troupe::function_host& host) -> troupe::task<> {
    auto slow = error_of(host.trigger<void>({.module = "slow", .func = "nothing"}));
    auto quick = [](troupe::function_host& h) -> troupe::task<double> {
      co_return co_await h.trigger<double>(mean_v1, 1.0, 2.0);
    }(host);
    const auto [e, d] = co_await troupe::when_all(std::move(slow), std::move(quick));
    CHECK(is(e, troupe::errc::start_failed));
    CHECK(e.detail().find("in time") != std::string::npos);
    CHECK(d == 1.5);
  };
  s.broker.run(calls(s.host));
  CHECK(s.host.stats().failed_starts == 1);
}

TEST_CASE("idle modules go, and come back") {
  auto options = in_process();
  options.idle_after = 30ms;
  setting s(options);
  const auto calls = [](troupe::function_host& host) -> troupe::task<> {
    for (int i = 0; i < 2; ++i) {
      static_cast<void>(co_await host.trigger<double>(of_calculator("add"), 1.0, 2.0));
      for (int tick = 0; tick < 2000 && host.stats().workers != 0; ++tick) {
        co_await troupe::sleep_for(5ms);
      }
      CHECK(host.stats().workers == 0);
      CHECK(functions_kit::mapped_modules() == 0);
    }
  };
  s.broker.run(calls(s.host));
  CHECK(s.host.stats().starts == 2);
  CHECK(s.host.stats().lingering == 0);
}

TEST_CASE("where there is no room, the module that is idle for longest goes") {
  auto options = in_process();
  options.max_workers = 2;
  setting s(options);
  const auto calls = [](troupe::function_host& host) -> troupe::task<> {
    const auto call = [&host](const char* module, const char* version) -> troupe::task<> {
      static_cast<void>(co_await host.trigger<double>(
          {.module = module, .version = version, .func = "mean"}, 1.0, 3.0));
    };
    co_await call("calculator", "v1.0.0");
    co_await call("middleman", "v1.0.0");
    co_await call("calculator", "v1.0.0");
    CHECK(host.stats().starts == 2);
    co_await call("calculator", "v2.0.0");  // middleman goes
    CHECK(host.stats().workers <= 2);
    co_await call("calculator", "v1.0.0");
    CHECK(host.stats().starts == 3);
  };
  troupe::module_options may;
  may.permissions.may_call = {"*"};
  s.host.define_module("middleman", may);
  s.broker.run(calls(s.host));
}

TEST_CASE("one worker serves many modules in turn, and nobody is left out") {
  auto options = in_process();
  options.max_workers = 1;
  options.patience = 5ms;
  setting s(options);
  const auto one = [](troupe::function_host& host, const char* version,
                      int calls) -> troupe::task<> {
    for (int i = 0; i < calls; ++i) {
      const troupe::function_request r{.module = "calculator", .version = version, .func = "sleep"};
      static_cast<void>(co_await host.trigger<int>(r, 3));
    }
  };
  const auto all = [&](troupe::function_host& host) -> troupe::task<> {
    // The first would keep the only worker busy for as long as it calls: two calls overlap.
    co_await troupe::when_all(one(host, "v1.0.0", 20), one(host, "v1.0.0", 20),
                              one(host, "v2.0.0", 5));
  };
  s.broker.run(all(s.host));
  CHECK(s.host.stats().calls == 45);
  CHECK(s.host.stats().starts >= 2);
}

TEST_CASE("calls beyond what may wait are refused") {
  auto options = in_process();
  options.max_waiting = 2;
  setting s(options);
  s.host.define_loader([](std::string_view, std::string_view) -> troupe::task<std::string> {
    co_await troupe::sleep_for(50ms);
    co_return module_path("calculator-v1.0.0");
  });
  const auto calls = [](troupe::function_host& host) -> troupe::task<> {
    const auto one = [](troupe::function_host& h) -> troupe::task<bool> {
      try {
        static_cast<void>(co_await h.trigger<double>(mean_v1, 1.0, 2.0));
      } catch (const troupe::error& e) {
        if (!is(e, troupe::errc::mailbox_full)) throw;
        co_return false;
      }
      co_return true;
    };
    std::vector<troupe::task<bool>> all;
    for (int i = 0; i < 5; ++i) all.push_back(one(host));
    const std::vector<bool> done = co_await troupe::when_all(std::move(all));
    CHECK(std::count(done.begin(), done.end(), true) == 2);
  };
  s.broker.run(calls(s.host));
}

TEST_CASE("a payload above the limit is refused before anything is done with it") {
  auto options = in_process();
  options.max_payload = 100;
  setting s(options);
  const std::vector<std::byte> large(200);
  CHECK_THROWS_AS(s.host.trigger<std::vector<std::byte>>(of_calculator("echo"), large),
                  troupe::error);
}

TEST_CASE("terminate ends all modules, and the host stays usable") {
  setting s;
  const auto calls = [](troupe::function_host& host) -> troupe::task<> {
    static_cast<void>(co_await host.trigger<double>(mean_v1, 1.0, 2.0));
    CHECK(host.stats().workers == 1);
    co_await host.terminate();
    CHECK(host.stats().workers == 0);
    static_cast<void>(co_await host.trigger<double>(mean_v1, 1.0, 2.0));
    CHECK(host.stats().starts == 2);
  };
  s.broker.run(calls(s.host));
}

TEST_CASE("the end of a host waits for its calls, and settles each once") {
  std::vector<int> settled(3, 0);
  troupe::broker broker({.threads = 2});
  auto options = in_process();
  options.drain_limit = 200ms;
  const auto begin = std::chrono::steady_clock::now();
  const auto call = [](troupe::function_host& host, const char* function, int ms,
                       int& count) -> troupe::task<> {
    try {
      if (ms == 0) {
        co_await host.trigger<void>(of_calculator(function));
      } else {
        static_cast<void>(co_await host.trigger<int>(of_calculator(function), ms));
      }
    } catch (const troupe::error&) {
    }
    ++count;
  };
  {
    troupe::function_host host(broker, options);
    load_from_tests(host);
    broker.spawn(call(host, "sleep", 20, settled[0]));
    broker.spawn(call(host, "until_stopped", 0, settled[1]));  // stops when it is asked to
    broker.spawn(call(host, "sleep", 60'000, settled[2]));
    const auto until_running = [](troupe::function_host& h) -> troupe::task<> {
      for (int tick = 0; tick < 5000 && h.stats().running < 2; ++tick)
        co_await troupe::sleep_for(1ms);
    };
    broker.run(until_running(host));
  }
  CHECK(std::chrono::steady_clock::now() - begin < 50s);
  const auto all_settled = [](std::vector<int>& counts) -> troupe::task<> {
    for (int tick = 0; tick < 5000 && counts != std::vector<int>{1, 1, 1}; ++tick) {
      co_await troupe::sleep_for(1ms);
    }
  };
  broker.run(all_settled(settled));
  CHECK(settled == std::vector<int>{1, 1, 1});
}

TEST_CASE("a library stays as long as a thread has a destructor of its to call") {
  {
    setting s;
    const auto call = [](troupe::function_host& host) -> troupe::task<> {
      const int n = co_await host.trigger<int>(
          {.module = "lingering", .version = "v1.0.0", .func = "length"});
      CHECK(n == 100);
      co_await host.terminate();
    };
    auto on_pool = [&s, &call]() -> troupe::task<> {
      auto inner = call(s.host);
      co_await std::move(inner);
    };
    s.broker.run(on_pool());
  }
  // The thread that ran it may have been this one, which has not ended: then it lingers, once.
  const std::size_t lingering = troupe::detail::lingering_libraries::instance().count();
  CHECK(lingering <= 1);
  CHECK((functions_kit::mapped_modules() != 0) == (lingering != 0));
}

}  // namespace function_host_tests
