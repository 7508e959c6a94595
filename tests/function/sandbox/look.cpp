// SPDX-License-Identifier: MIT
// Coroutines that await calls of a process: on the threads of a pool, whose callers look for their
// replies themselves where nothing else waits.

#include <support/catch.hpp>

#include <coroutine>
#include <cstdint>
#include <string>
#include <vector>

#include <troupe/broker/broker.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/when_all.hpp>

#include "subject.hpp"

namespace {

/// A call that a coroutine awaits.
class awaited final : public troupe::detail::module_call {
public:
  awaited(troupe::detail::module_instance& to, std::uint32_t index, const std::string& text)
      : instance_(to) {
    static troupe::detail::atomic<std::uint64_t> last{0};
    id = 1 + last.fetch_add(1, troupe::detail::order::relaxed);
    function = index;
    deadline = INT64_MAX;
    payload = {reinterpret_cast<const unsigned char*>(text.data()), text.size()};
    settle = [](troupe_module_call* self, std::uint32_t outcome, std::uint32_t,
                troupe_bytes reply) {
      auto& a = static_cast<awaited&>(*self);
      a.text_ = outcome == troupe_outcome_value
                    ? std::string(reinterpret_cast<const char*>(reply.data), reply.size)
                    : "failed";
      a.finish();
    };
  }
  void give_back() noexcept override {
    text_ = "given back";
    finish();
  }

  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> h) {
    waiting_ = h;
    instance_.call(*this);
    return state_.exchange(1, troupe::detail::order::acq_rel) == 0;
  }
  std::string await_resume() const { return text_; }

private:
  void finish() noexcept {
    // Whoever comes second goes on: this, or `await_suspend`.
    if (state_.exchange(2, troupe::detail::order::acq_rel) == 1) waiting_.resume();
  }

  troupe::detail::module_instance& instance_;
  std::coroutine_handle<> waiting_;
  troupe::detail::atomic<int> state_{0};
  std::string text_;
};

troupe::task<int> caller(subject::running& m, int count, int pause_every) {
  const std::uint32_t echo = m.find("echo");
  int good = 0;
  for (int i = 0; i != count; ++i) {
    const std::string text(static_cast<std::size_t>(i % 4) * 120, 'a');
    awaited one(*m, echo, text);
    const std::string back = co_await one;
    if (back == text) ++good;
    if (pause_every != 0 && i % pause_every == 0) {
      co_await troupe::sleep_for(std::chrono::microseconds(300));
    }
  }
  co_return good;
}

}  // namespace

TEST_CASE("A caller alone finds its replies by itself, also after pauses") {
  subject::running m;
  CHECK(troupe::sync_wait(caller(m, 3000, 0)) == 3000);
  CHECK(troupe::sync_wait(caller(m, 200, 1)) == 200);
}

TEST_CASE("Callers on several threads get their own replies") {
  troupe::broker broker{{.threads = 3}};
  subject::running m;
  auto all = [&]() -> troupe::task<int> {
    std::vector<troupe::task<int>> callers;
    for (int i = 0; i != 8; ++i) callers.push_back(caller(m, 500, i % 3 == 0 ? 7 : 0));
    int good = 0;
    const std::vector<int> each = co_await troupe::when_all(std::move(callers));
    for (const int one : each) good += one;
    co_return good;
  };
  CHECK(broker.run(all()) == 8 * 500);
}

TEST_CASE("A caller that looks in vain is told when the process dies or is killed") {
  for (int round = 0; round != 20; ++round) {
    subject::running m;
    auto one = [&](const char* function) -> troupe::task<std::string> {
      const std::string none;
      awaited a(*m, m.find(function), none);
      const std::string outcome = co_await a;
      co_return outcome;
    };
    CHECK(troupe::sync_wait(one(round % 2 == 0 ? "crash" : "exit")) == "failed");
    CHECK(m.owner().end.wait());
    CHECK(troupe::sync_wait(one("echo")) == "given back");
  }
}

TEST_CASE("Callers look shorter where it is in vain, and as long as may be now and then") {
  using troupe::detail::sandbox::look_length;
  look_length l;
  CHECK(l.next() == look_length::longest);
  for (int round = 0; round != 3; ++round) {
    // Each reply comes a little too late for a short look, as after a disturbance.
    constexpr auto needed = 3 * look_length::shortest;
    for (int i = 0; i != 20; ++i) l.was_in_vain(look_length::shortest);
    int slept = 0;
    for (;;) {
      const troupe::duration looked = l.next();
      if (looked >= needed) {
        l.was_met(looked);
        break;
      }
      l.was_in_vain(looked);
      REQUIRE(++slept <= static_cast<int>(look_length::try_again_after));
    }
    CHECK(l.next() == look_length::longest);
  }
  // What takes longer than any look is slept for, nearly always at once.
  troupe::duration all{};
  for (int i = 0; i != 900; ++i) {
    const troupe::duration looked = l.next();
    all += looked;
    l.was_in_vain(looked);
  }
  CHECK(l.next() >= look_length::shortest);
  CHECK(all < 900 * (look_length::longest / 6));
}
