// SPDX-License-Identifier: MIT
// What a host does with instances that break the rules: made up here, so that they do it in time.

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <troupe.hpp>
#include <troupe/function.hpp>

#include "kit.hpp"

namespace misbehaving_tests {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::detail::cpu_relax;
using troupe::detail::instance_owner;
using troupe::detail::module_call;
using troupe::detail::outgoing_call;

namespace {

class made_up;

/// What all instances of a test do; each may be empty.
struct manners {
  std::function<void(made_up&, module_call&)> call;
  std::function<void(made_up&, std::uint64_t)> stop;
  std::function<bool(std::uint64_t)> withdraw;
  std::function<void(made_up&)> made;  // before its host has it
  bool ignores_close = false;
  troupe::isolation kept = troupe::isolation::process;

  troupe::detail::atomic<bool> holds_starts{false};  // until it is false again

  std::mutex mutex;  // guards those below
  int started = 0;
  int killed = 0;
};

std::string text_of(const module_call& c) {
  return std::string(reinterpret_cast<const char*>(c.payload.data),
                     static_cast<std::size_t>(c.payload.size));
}

class made_up final : public troupe::detail::module_instance {
public:
  made_up(manners& m, instance_owner& o) : owner(o), manners_(m) {
    manifest_.name = "made up";
    manifest_.formats = 1;
    manifest_.functions.push_back({"f", "void f()", 0, 0});
    const std::lock_guard guard(m.mutex);
    number = ++m.started;
  }
  troupe::isolation kept() const noexcept override { return manners_.kept; }
  const troupe::module_manifest& manifest() const noexcept override { return manifest_; }
  void call(module_call& c) noexcept override {
    if (manners_.call) return manners_.call(*this, c);
    settle(c, troupe_outcome_value, {});
  }
  void stop(std::uint64_t id) noexcept override {
    if (manners_.stop) manners_.stop(*this, id);
  }
  bool withdraw(std::uint64_t id) noexcept override {
    return manners_.withdraw && manners_.withdraw(id);
  }
  void close() noexcept override {
    if (!manners_.ignores_close) end();
  }
  bool kill(errc why, std::string_view) noexcept override {
    if (manners_.kept != troupe::isolation::process) return false;
    {
      const std::lock_guard guard(manners_.mutex);
      ++manners_.killed;
    }
    while (module_call* const c = take()) {
      settle(*c, troupe_outcome_error, static_cast<std::uint32_t>(why));
    }
    end();
    return true;
  }
  std::size_t memory() const noexcept override { return 0; }

  static void settle(module_call& c, std::uint32_t outcome, std::uint32_t code) {
    c.settle(&c, outcome, code, {nullptr, 0});
  }
  void keep(module_call& c) {
    const std::lock_guard guard(mutex_);
    held_.push_back(&c);
  }
  module_call* take() {
    const std::lock_guard guard(mutex_);
    if (held_.empty()) return nullptr;
    module_call* const c = held_.front();
    held_.erase(held_.begin());
    return c;
  }
  std::size_t held() {
    const std::lock_guard guard(mutex_);
    return held_.size();
  }
  void end() {
    {
      const std::lock_guard guard(mutex_);
      if (std::exchange(ended_, true)) return;
    }
    owner.ended(*this);
  }

  instance_owner& owner;
  int number = 0;

private:
  manners& manners_;
  troupe::module_manifest manifest_;
  std::mutex mutex_;
  std::vector<module_call*> held_;
  bool ended_ = false;
};

class made_up_launcher final : public troupe::detail::module_launcher {
public:
  explicit made_up_launcher(manners& m) : manners_(m) {}
  troupe::task<std::unique_ptr<troupe::detail::module_instance>> start(
      troupe::detail::module_launch launch) override {
    while (manners_.holds_starts.load(troupe::detail::order::acquire)) {
      co_await troupe::sleep_for(1ms);
    }
    auto made = std::make_unique<made_up>(manners_, launch.owner);
    if (manners_.made) manners_.made(*made);
    co_return std::unique_ptr<troupe::detail::module_instance>(std::move(made));
  }
  std::size_t cost() const noexcept override { return std::size_t{1} << 20; }

private:
  manners& manners_;
};

struct setting {
  explicit setting(troupe::function_host_options options = {}) : host(broker, with(options)) {
    host.define_loader([](std::string_view, std::string_view) {
      return functions_kit::module_path("calculator-v1.0.0");
    });
  }
  troupe::function_host_options with(troupe::function_host_options options) {
    options.kept = troupe::isolation::process;
    options.processes = &launcher;
    options.watch_files = 0s;
    return options;
  }
  manners how;
  made_up_launcher launcher{how};
  /// The instance is there, and idle.
  void warm_up(std::string_view module);

  troupe::broker broker{{.threads = 2}};
  troupe::function_host host;
};

troupe::function_request of(std::string_view module, std::string_view payload = {}) {
  troupe::function_request r{.module = module, .func = "f"};
  r.limit = 20s;  // of the test: a call that is never told ends it, too
  r.payload = payload;
  return r;
}

template <class T>
troupe::task<std::string> outcome_of(T call) {
  const auto outcome = co_await troupe::as_result(std::move(call));
  if (outcome.has_value()) co_return "fine";
  try {
    outcome.value();
  } catch (const std::exception& e) {
    co_return e.what();
  }
  co_return "something else";
}

void setting::warm_up(std::string_view module) {
  const auto behaviour = std::exchange(how.call, nullptr);
  REQUIRE(broker.run(outcome_of(host.trigger(of(module)))) == "fine");
  how.call = behaviour;
}

troupe::task<> until_crashes(troupe::function_host& host, std::uint64_t crashes) {
  for (int i = 0; i != 20'000 && host.stats().crashes != crashes; ++i) {
    co_await troupe::sleep_for(1ms);
  }
  CHECK(host.stats().crashes == crashes);
}

bool begins(const std::string& text, std::string_view with) { return text.find(with) == 0; }

}  // namespace

TEST_CASE("An instance that gives calls back and takes more has died, whatever it says") {
  setting s;
  s.how.ignores_close = true;
  s.how.call = [](made_up&, module_call& c) { c.give_back(); };
  const std::string why = s.broker.run(outcome_of(s.host.trigger(of("m"))));
  CHECK(begins(why, "worker crashed"));
  CHECK(s.host.stats().crashes == 3);
  s.how.call = nullptr;
  CHECK(s.broker.run(outcome_of(s.host.trigger(of("m")))) == "fine");
}

TEST_CASE("A call that no instance begins, for each dies first, ends") {
  setting s;
  s.how.call = [](made_up& i, module_call& c) {
    i.owner.failed(i, errc::worker_crashed, "it fell over");
    c.give_back();
    i.end();
  };
  const std::string why = s.broker.run(outcome_of(s.host.trigger(of("m"))));
  CHECK(begins(why, "worker crashed"));
  CHECK(s.how.started == 3);
  CHECK(s.host.stats().workers == 0);
}

TEST_CASE("Calls that are given back keep their order") {
  // By the number that each gets when it is given to an instance: on their way there, which each
  // goes by itself, one may overtake the other.
  std::map<std::uint64_t, std::string> first;
  std::map<std::uint64_t, std::string> second;
  setting s;
  s.how.call = [&](made_up& i, module_call& c) {
    {
      const std::lock_guard guard(s.how.mutex);
      (i.number == 1 ? first : second).emplace(c.id, text_of(c));
    }
    if (i.number != 1) return made_up::settle(c, troupe_outcome_value, 0);
    i.keep(c);
    if (i.held() != 3) return;
    s.how.holds_starts.store(true, troupe::detail::order::release);
    i.owner.failed(i, errc::worker_crashed, "it fell over");
    while (module_call* const one = i.take()) one->give_back();
    i.end();
    s.how.holds_starts.store(false, troupe::detail::order::release);
  };
  const auto calls = [](troupe::function_host& h) -> troupe::task<> {
    auto all =
        troupe::when_all(h.trigger(of("m", "a")), h.trigger(of("m", "b")), h.trigger(of("m", "c")));
    static_cast<void>(co_await std::move(all));
  };
  s.broker.run(calls(s.host));
  CHECK(s.how.started == 2);
  CHECK(first.size() == 3);
  CHECK(second == first);
}

TEST_CASE("A process that ignores its end is killed, and its room is another's") {
  troupe::function_host_options options;
  options.max_workers = 1;
  setting s(options);
  s.how.ignores_close = true;
  CHECK(s.broker.run(outcome_of(s.host.trigger(of("a")))) == "fine");
  CHECK(s.broker.run(outcome_of(s.host.trigger(of("b")))) == "fine");
  CHECK(s.how.killed == 1);
  CHECK(s.host.stats().workers == 1);
}

TEST_CASE("A process that does not stop when it is asked to is killed after the grace") {
  setting s;
  s.how.call = [](made_up& i, module_call& c) { i.keep(c); };
  s.warm_up("m");
  const auto calls = [](troupe::function_host& h) -> troupe::task<> {
    troupe::function_request r = of("m");
    r.limit = troupe::duration::zero();  // there is none
    auto first = troupe::when_any(troupe::sleep_for(5ms), h.trigger(r));
    const auto ended = co_await std::move(first);
    CHECK(ended.index() == 0);
  };
  s.broker.run(calls(s.host));
  s.broker.run(until_crashes(s.host, 1));  // its caller has gone on long before
  CHECK(s.how.killed == 1);
}

TEST_CASE("A call that its caller leaves harms nobody else's, until its time is up") {
  troupe::function_host_options options;
  options.cancel_grace = 300ms;
  setting s(options);
  s.how.call = [](made_up& i, module_call& c) { i.keep(c); };
  s.warm_up("m");
  const auto leave = [](troupe::function_host& h) -> troupe::task<> {
    troupe::function_request r = of("m");
    r.limit = troupe::duration::zero();
    const auto begun = troupe::steady_now();
    auto first = troupe::when_any(troupe::sleep_for(5ms), h.trigger(r));
    static_cast<void>(co_await std::move(first));
    co_await until_crashes(h, 1);
    CHECK(troupe::steady_now() - begun >= 300ms);
  };
  auto both = troupe::when_all(outcome_of(s.host.trigger(of("m"))), leave(s.host));
  const auto [kept, nothing] = s.broker.run(std::move(both));
  CHECK(begins(kept, "worker crashed"));
  CHECK(s.how.killed == 1);
}

TEST_CASE("What a module replies and nobody has read yet is bounded") {
  constexpr std::size_t each = 100'000;
  constexpr int count = 3;
  struct reader {
    troupe::detail::atomic<int>& reading;
    troupe::detail::atomic<bool>& may_end;
    troupe::detail::atomic<int> told{0};
    std::uint32_t code = 0;

    reader(troupe::detail::atomic<int>& r, troupe::detail::atomic<bool>& m)
        : reading(r), may_end(m) {}
    /// The reply is there until this returns.
    static void read(void* context, std::uint32_t outcome, std::uint32_t code, troupe_bytes) {
      auto& self = *static_cast<reader*>(context);
      self.code = outcome == troupe_outcome_value ? 0 : code;
      self.reading.fetch_add(1);
      const auto until = troupe::steady_now() + 20s;
      while (!self.may_end.load() && troupe::steady_now() < until) std::this_thread::yield();
      self.told.store(1);
    }
  };
  const auto until = [](const auto& holds) {
    const auto late = troupe::steady_now() + 20s;
    while (!holds() && troupe::steady_now() < late) std::this_thread::sleep_for(1ms);
    return holds();
  };
  const std::vector<unsigned char> reply(each, 7);
  troupe::detail::atomic<int> reading{0};
  troupe::detail::atomic<bool> may_end{false};
  std::deque<reader> readers;
  troupe::function_host_options options;
  options.max_held_replies = 5 * each / 2;
  setting s(options);
  s.host.define_module("asks", {.permissions = {.may_call = {"replies"}}});
  std::vector<made_up*> made;
  s.how.made = [&](made_up& i) { made.push_back(&i); };
  s.how.call = [](made_up& i, module_call& c) { i.keep(c); };
  s.warm_up("replies");
  s.warm_up("asks");
  REQUIRE(made.size() == 2);
  for (int i = 0; i != count; ++i) {
    readers.emplace_back(reading, may_end);
    outgoing_call c;
    c.module = "replies";
    c.function = "f";
    c.settled = &reader::read;
    c.context = &readers.back();
    made[1]->owner.call(*made[1], c);
  }
  REQUIRE(until([&] { return made[0]->held() == count; }));
  for (int i = 0; i != count; ++i) {
    module_call& c = *made[0]->take();
    c.settle(&c, troupe_outcome_value, 0, {reply.data(), reply.size()});
    // Both threads of the broker read; the third reply has none.
    if (i == 1) CHECK(until([&] { return reading.load() == 2; }));
  }
  may_end = true;
  int fine = 0;
  int lost = 0;
  for (reader& r : readers) {
    REQUIRE(until([&r] { return r.told.load() == 1; }));
    fine += r.code == 0 ? 1 : 0;
    lost += r.code == static_cast<std::uint32_t>(errc::result_lost) ? 1 : 0;
  }
  CHECK(fine == 2);
  CHECK(lost == 1);
  // What was read counts no more, as soon as the last reader has let go of it.
  const std::vector<unsigned char> whole(options.max_held_replies, 7);
  s.how.call = [&](made_up&, module_call& c) {
    c.settle(&c, troupe_outcome_value, 0, {whole.data(), whole.size()});
  };
  CHECK(until([&] { return s.broker.run(outcome_of(s.host.trigger(of("replies")))) == "fine"; }));
}

TEST_CASE("A call that comes just as a process is to be killed for a left one keeps it alive") {
  troupe::detail::atomic<int> asked{0};
  troupe::detail::atomic<bool> is_there{false};
  troupe::detail::atomic<made_up*> at{nullptr};
  troupe::function_host_options options;
  options.stop_grace = 20ms;
  setting s(options);
  s.how.call = [&](made_up& i, module_call& c) {
    const bool is_next = text_of(c) == "next";
    i.keep(c);
    at.store(&i, troupe::detail::order::release);
    if (is_next) is_there.store(true, troupe::detail::order::release);
  };
  // The first time its caller has left it, the second time its grace is over: the host has found
  // nobody who waits for that process, and asks once more whether the call has begun.
  s.how.withdraw = [&](std::uint64_t) {
    if (asked.fetch_add(1, troupe::detail::order::acq_rel) != 1) return false;
    const auto until = troupe::steady_now() + 10s;
    while (!is_there.load(troupe::detail::order::acquire) && troupe::steady_now() < until) {
      cpu_relax();
    }
    return false;
  };
  s.warm_up("m");
  const auto leave = [](troupe::function_host& h) -> troupe::task<> {
    auto first = troupe::when_any(troupe::sleep_for(5ms), h.trigger(of("m", "left")));
    static_cast<void>(co_await std::move(first));
  };
  const auto next = [&](troupe::function_host& h) -> troupe::task<> {
    while (asked.load(troupe::detail::order::acquire) < 2) co_await troupe::yield();
    troupe::function_request r = of("m", "next");
    r.limit = troupe::duration::zero();
    const std::string how = co_await outcome_of(h.trigger(r));
    CHECK(how == "fine");
  };
  const auto settle = [&](troupe::function_host& h) -> troupe::task<> {
    while (!is_there.load(troupe::detail::order::acquire)) co_await troupe::yield();
    co_await troupe::sleep_for(150ms);  // it was looked at again meanwhile
    CHECK(h.stats().crashes == 0);
    made_up& there = *at.load(troupe::detail::order::acquire);
    while (module_call* const c = there.take()) made_up::settle(*c, troupe_outcome_value, 0);
  };
  auto all = troupe::when_all(leave(s.host), next(s.host), settle(s.host));
  static_cast<void>(s.broker.run(std::move(all)));
  CHECK(s.how.killed == 0);
}

TEST_CASE("A call that an instance gives back unbegun at its limit is no reason to kill it") {
  std::mutex mutex;
  std::vector<std::uint64_t> back;
  setting s;
  s.how.call = [](made_up& i, module_call& c) { i.keep(c); };
  s.how.withdraw = [&](std::uint64_t id) {
    const std::lock_guard guard(mutex);
    back.push_back(id);
    return true;
  };
  s.warm_up("m");
  troupe::function_request r = of("m");
  r.limit = 20ms;
  const std::string why = s.broker.run(outcome_of(s.host.trigger(r)));
  CHECK(begins(why, "deadline passed before the start"));
  const auto leave = [](troupe::function_host& h) -> troupe::task<> {
    auto first = troupe::when_any(troupe::sleep_for(5ms), h.trigger(of("m")));
    static_cast<void>(co_await std::move(first));
    CHECK(h.stats().running == 0);
  };
  s.broker.run(leave(s.host));
  CHECK(back.size() == 2);
  CHECK(s.host.stats().crashes == 0);
  CHECK(s.host.stats().calls == 3);
}

TEST_CASE(
    "Calls that come while a process may be about to be killed wait, and do not end with it") {
  troupe::function_host_options options;
  std::mutex mutex;
  std::vector<std::pair<int, std::string>> seen;
  troupe::detail::atomic<made_up*> stuck_in{nullptr};
  bool gives_up = false;
  SECTION("it is killed: another one has them") { options.stop_grace = 300ms; }
  SECTION("it gives the call up: it has them itself") {
    options.stop_grace = 60s;
    gives_up = true;
  }
  setting s(options);
  s.how.call = [&](made_up& i, module_call& c) {
    {
      const std::lock_guard guard(mutex);
      seen.emplace_back(i.number, text_of(c));
    }
    if (text_of(c) != "stuck") return made_up::settle(c, troupe_outcome_value, 0);
    i.keep(c);
    stuck_in.store(&i, troupe::detail::order::release);
  };
  s.warm_up("m");
  const auto calls = [&](troupe::function_host& h) -> troupe::task<> {
    troupe::function_request r = of("m", "stuck");
    r.limit = 20ms;
    const std::string late = co_await outcome_of(h.trigger(r));
    CHECK(begins(late, "timed out"));
    const auto settle = [&](troupe::function_host& one) -> troupe::task<> {
      if (!gives_up) co_return;  // it may have been killed by now
      for (int i = 0; i != 20'000 && one.stats().waiting == 0; ++i) {
        co_await troupe::sleep_for(1ms);
      }
      CHECK(one.stats().waiting == 1);
      made_up& there = *stuck_in.load(troupe::detail::order::acquire);
      made_up::settle(*there.take(), troupe_outcome_value, 0);
    };
    auto both = troupe::when_all(outcome_of(h.trigger(of("m", "next"))), settle(h));
    const auto [next, nothing] = co_await std::move(both);
    CHECK(next == "fine");
  };
  s.broker.run(calls(s.host));
  REQUIRE(seen.size() == 2);
  CHECK(seen[1] == std::pair(gives_up ? 1 : 2, std::string("next")));
  CHECK(s.host.stats().crashes == (gives_up ? 0 : 1));
}

TEST_CASE("The deadline of a chain ends what a process does not") {
  setting s;
  s.how.call = [](made_up& i, module_call& c) { i.keep(c); };
  s.warm_up("m");
  const auto calls = [](troupe::function_host& h) -> troupe::task<> {
    const auto call = [](troupe::function_host& host) -> troupe::task<> {
      troupe::function_request r = of("m");
      r.limit = troupe::duration::zero();
      static_cast<void>(co_await host.trigger(r));
    };
    auto limited = troupe::within(call(h), 20ms);
    const std::string why = co_await outcome_of(std::move(limited));
    CHECK(begins(why, "timed out"));
  };
  s.broker.run(calls(s.host));
  s.broker.run(s.host.terminate());
  CHECK(s.how.killed == 1);
}

TEST_CASE("A stop request is not lost while the call is on its way into the instance") {
  setting s;
  troupe::detail::atomic<int> asked{0};
  s.how.kept = troupe::isolation::in_process;
  s.how.call = [&asked](made_up& i, module_call& c) {
    const auto begun = troupe::steady_now();
    while (asked.load(troupe::detail::order::acquire) == 0 && troupe::steady_now() - begun < 10s) {
      cpu_relax();
    }
    i.keep(c);
  };
  s.how.stop = [&asked](made_up& i, std::uint64_t) {
    while (module_call* const c = i.take()) {
      made_up::settle(*c, troupe_outcome_error, static_cast<std::uint32_t>(errc::cancelled));
    }
    asked.fetch_add(1, troupe::detail::order::release);
  };
  s.warm_up("m");
  troupe::function_request r = of("m");
  r.limit = 20ms;
  CHECK(begins(s.broker.run(outcome_of(s.host.trigger(r))), "timed out"));
  s.broker.run(s.host.terminate());
  CHECK(asked.load(troupe::detail::order::acquire) == 2);
}

TEST_CASE("A module names others plainly, and does not ask for more than it may") {
  troupe::function_host_options options;
  options.max_payload = 1000;
  setting s(options);
  troupe::module_options all;
  all.permissions.may_call = {"*", "/named/as it is"};
  s.host.define_module("asks", all);
  struct answer {
    std::string module;
    std::string version;
    std::size_t bytes = 0;
    errc expected{};
    troupe::detail::atomic<std::uint32_t> code{~0U};
  };
  const std::string much(600, 'm');
  std::array<answer, 6> answers;
  answers[0].module = "../../etc/passwd";
  answers[1].version = "../1";
  answers[2].module = std::string(65, 'm');
  for (std::size_t i = 0; i != 3; ++i) answers[i].expected = errc::refused;
  answers[3].module = "/named/as it is";
  answers[4].bytes = 600;  // the first is open when the second comes
  answers[5].bytes = 600;
  answers[5].expected = errc::too_large;
  const auto told = [](void* context, std::uint32_t, std::uint32_t code, troupe_bytes) {
    static_cast<answer*>(context)->code.store(code, troupe::detail::order::release);
  };
  s.how.call = [&](made_up& i, module_call& c) {
    if (i.number == 1) {
      for (answer& a : answers) {
        outgoing_call out;
        out.module = a.module.empty() ? std::string_view("other") : std::string_view(a.module);
        out.version = a.version;
        out.function = "f";
        out.payload = {reinterpret_cast<const unsigned char*>(much.data()), a.bytes};
        out.settled = told;
        out.context = &a;
        i.owner.call(i, out);
      }
    }
    made_up::settle(c, troupe_outcome_value, 0);
  };
  CHECK(s.broker.run(outcome_of(s.host.trigger(of("asks")))) == "fine");
  const auto rest = []() -> troupe::task<> { co_await troupe::sleep_for(1ms); };
  const auto begun = troupe::steady_now();
  for (answer& a : answers) {
    while (a.code.load(troupe::detail::order::acquire) == ~0U) {
      REQUIRE(troupe::steady_now() - begun < 20s);
      s.broker.run(rest());
    }
    CHECK(a.code.load(troupe::detail::order::acquire) == static_cast<std::uint32_t>(a.expected));
  }
}

TEST_CASE("An instance that dies before its host has it is none") {
  setting s;
  s.how.made = [](made_up& i) {
    if (i.number != 1) return;
    i.owner.failed(i, errc::worker_crashed, "it fell over at once");
    i.end();
  };
  const std::string why = s.broker.run(outcome_of(s.host.trigger(of("m"))));
  CHECK(begins(why, "worker failed to start: it fell over at once"));
  CHECK(s.host.stats().workers == 0);
  CHECK(s.broker.run(outcome_of(s.host.trigger(of("m")))) == "fine");
  CHECK(s.host.stats().workers == 1);
}

TEST_CASE("An instance that dies at any moment of its start leaves nothing behind") {
  // Between the end of the start and the first call: the other thread is given a different time
  // each round.
  constexpr int rounds = 300;
  std::mutex mutex;
  std::deque<made_up*> born;
  troupe::detail::atomic<bool> over{false};
  setting s;
  s.how.made = [&](made_up& i) {
    const std::lock_guard guard(mutex);
    born.push_back(&i);
  };
  std::thread reaper([&] {
    int round = 0;
    while (!over.load(troupe::detail::order::acquire)) {
      made_up* one = nullptr;
      {
        const std::lock_guard guard(mutex);
        if (!born.empty()) one = born.front();
        if (one != nullptr) born.pop_front();
      }
      if (one == nullptr) {
        std::this_thread::yield();
        continue;
      }
      for (int i = 0; i != 40 * (round % 64); ++i) cpu_relax();
      ++round;
      one->owner.failed(*one, errc::worker_crashed, "it fell over");
      one->end();
    }
  });
  const auto calls = [](troupe::function_host& host) -> troupe::task<> {
    for (int i = 0; i != rounds; ++i) {
      const std::string why =
          co_await outcome_of(host.trigger(of("m" + std::to_string(i))).within(20s));
      const bool is_known =
          why == "fine" || begins(why, "worker failed to start") || begins(why, "worker crashed");
      INFO(why);
      CHECK(is_known);
    }
    for (int i = 0; i != 20'000 && host.stats().workers != 0; ++i) co_await troupe::sleep_for(1ms);
    CHECK(host.stats().workers == 0);
    CHECK(host.stats().running == 0);
  };
  s.broker.run(calls(s.host));
  over.store(true, troupe::detail::order::release);
  reaper.join();
}

TEST_CASE("A reload that waits for its module when the host comes to its end is told") {
  std::string reloaded;
  std::string called;
  troupe::detail::atomic<int> told{0};
  manners how;
  made_up_launcher launcher(how);
  how.holds_starts.store(true, troupe::detail::order::release);
  troupe::broker broker{{.threads = 2}};
  troupe::detail::atomic<int> asked{0};
  const auto note = [&](troupe::task<std::string> what, std::string& to) -> troupe::task<> {
    asked.fetch_add(1, troupe::detail::order::release);
    to = co_await std::move(what);
    told.fetch_add(1, troupe::detail::order::release);
  };
  {
    troupe::function_host_options options;
    options.processes = &launcher;
    options.drain_limit = 50ms;
    troupe::function_host host(broker, options);
    host.define_loader([](std::string_view, std::string_view) {
      return functions_kit::module_path("calculator-v1.0.0");
    });
    const auto until_starting = [](troupe::function_host& h) -> troupe::task<> {
      for (int i = 0; i != 20'000 && h.stats().starting == 0; ++i) {
        co_await troupe::sleep_for(1ms);
      }
      CHECK(h.stats().starting == 1);
    };
    broker.spawn(note(outcome_of(host.trigger(of("m"))), called));
    broker.run(until_starting(host));
    broker.spawn(note(outcome_of(host.reload("m")), reloaded));
    const auto until_asked = [](troupe::detail::atomic<int>& how_many) -> troupe::task<> {
      for (int i = 0; i != 20'000 && how_many.load(troupe::detail::order::acquire) != 2; ++i) {
        co_await troupe::sleep_for(1ms);
      }
      co_await troupe::sleep_for(50ms);
    };
    broker.run(until_asked(asked));
    CHECK(told.load(troupe::detail::order::acquire) == 0);
  }
  const auto until_told = [](troupe::detail::atomic<int>& how_many) -> troupe::task<> {
    for (int i = 0; i != 20'000 && how_many.load(troupe::detail::order::acquire) != 2; ++i) {
      co_await troupe::sleep_for(1ms);
    }
  };
  broker.run(until_told(told));
  REQUIRE(told.load(troupe::detail::order::acquire) == 2);
  CHECK(begins(called, "worker stopped"));
  CHECK(begins(reloaded, "worker failed to start"));
}

TEST_CASE("What leaves but takes its time is not counted on: idle instances make way") {
  troupe::function_host_options options;
  options.max_workers = 2;
  options.patience = 60s;  // nobody is drained for others here
  troupe::detail::atomic<int> held{0};
  setting s(options);
  s.how.kept = troupe::isolation::in_process;
  s.how.call = [&held](made_up& i, module_call& c) {
    if (text_of(c) == "long") {
      i.keep(c);
      held.store(1, troupe::detail::order::release);
      return;
    }
    made_up::settle(c, troupe_outcome_value, 0);
  };
  s.how.stop = [&held](made_up& i, std::uint64_t) {
    held.store(-1, troupe::detail::order::release);
    while (module_call* const one = i.take()) made_up::settle(*one, troupe_outcome_value, 0);
  };
  s.warm_up("a");
  const auto rest = [](troupe::function_host& host,
                       troupe::detail::atomic<int>& kept) -> troupe::task<> {
    for (int i = 0; i != 20'000 && kept.load(troupe::detail::order::acquire) == 0; ++i) {
      co_await troupe::sleep_for(1ms);
    }
    REQUIRE(kept.load(troupe::detail::order::acquire) == 1);
    // The old "a" has a call for long, and leaves behind a new one, which is idle.
    co_await host.reload("a");
    CHECK(host.stats().ending == 1);
    CHECK(host.stats().workers == 2);
    const std::string b = co_await outcome_of(host.trigger(of("b")));
    CHECK(b == "fine");
    CHECK(kept.load(troupe::detail::order::acquire) == 1);
  };
  const auto calls = [&](troupe::function_host& h,
                         troupe::detail::atomic<int>& kept) -> troupe::task<> {
    troupe::function_request r = of("a", "long");
    r.limit = troupe::duration::zero();
    auto first = troupe::when_any(h.trigger(r), rest(h, kept));
    const auto winner = co_await std::move(first);
    CHECK(winner.index() == 1);
  };
  s.broker.run(calls(s.host, held));
}

TEST_CASE("A module that tells of another one's crash has not crashed") {
  const auto begin = std::chrono::steady_clock::now();
  constexpr int rounds = 9;
  setting s;
  s.how.call = [](made_up& i, module_call& c) {
    const auto code = static_cast<std::uint32_t>(errc::worker_crashed);
    const bool dies = text_of(c) == "die";
    if (dies) i.owner.failed(i, errc::worker_crashed, "it fell over");
    made_up::settle(c, troupe_outcome_error, code);
    if (dies) i.end();
  };
  for (int round = 0; round != rounds; ++round) {
    for (const char* what : {"die", "call another"}) {
      const std::string why = s.broker.run(outcome_of(s.host.trigger(of("m", what))));
      CHECK(begins(why, "worker crashed"));
    }
  }
  CHECK(s.host.stats().crashes == rounds);
  // Were these failures in a row, there would be pauses of 6 s in all.
  CHECK(std::chrono::steady_clock::now() - begin < 4s);
}

TEST_CASE("A module that crashes again and again has to wait") {
  const auto begin = std::chrono::steady_clock::now();
  setting s;
  s.how.call = [](made_up& i, module_call& c) {
    i.owner.failed(i, errc::worker_crashed, "it fell over");
    made_up::settle(c, troupe_outcome_error, static_cast<std::uint32_t>(errc::worker_crashed));
    i.end();
  };
  for (int round = 0; round != 5; ++round) {
    CHECK(begins(s.broker.run(outcome_of(s.host.trigger(of("m")))), "worker crashed"));
  }
  CHECK(s.host.stats().crashes == 5);
  CHECK(std::chrono::steady_clock::now() - begin > 300ms);  // 50, 100 and 200 ms
}

}  // namespace misbehaving_tests
