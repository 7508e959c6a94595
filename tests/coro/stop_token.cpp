// SPDX-License-Identifier: MIT
// The behaviour the standard prescribes for its types of the same names, and races between a
// request and the end of a callback.

#include <troupe/coro/stop_token.hpp>

#include <atomic>
#include <memory>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "../support/catch.hpp"

namespace stop_token_tests {
namespace {

using troupe::stop_callback;
using troupe::stop_source;
using troupe::stop_token;

static_assert(std::is_nothrow_copy_constructible_v<stop_token>);
static_assert(std::is_nothrow_move_constructible_v<stop_source>);
static_assert(!std::is_move_constructible_v<stop_callback<void (*)()>>);

struct add_one {
  int* count;
  void operator()() const noexcept { ++*count; }
};

}  // namespace

TEST_CASE("a token without a source never stops", "[coro][stop]") {
  const stop_token token;
  REQUIRE_FALSE(token.stop_possible());
  REQUIRE_FALSE(token.stop_requested());
  const stop_source none(troupe::nostopstate);
  REQUIRE_FALSE(none.stop_possible());
  REQUIRE_FALSE(none.get_token().stop_possible());
}

TEST_CASE("a request is seen by all tokens and made once", "[coro][stop]") {
  stop_source source;
  const stop_token token = source.get_token();
  REQUIRE(token.stop_possible());
  REQUIRE_FALSE(token.stop_requested());
  REQUIRE(source.request_stop());
  REQUIRE_FALSE(source.request_stop());
  REQUIRE(token.stop_requested());
  REQUIRE(source.stop_requested());
}

TEST_CASE("copies of a source share one state", "[coro][stop]") {
  stop_source source;
  stop_source copy = source;
  REQUIRE(copy == source);
  REQUIRE(copy.get_token() == source.get_token());
  REQUIRE_FALSE(stop_source() == source);
  copy.request_stop();
  REQUIRE(source.stop_requested());
}

TEST_CASE("without a source a stop is no longer possible, unless it was requested",
          "[coro][stop]") {
  auto source = std::make_unique<stop_source>();
  stop_source moved = std::move(*source);
  const stop_token token = moved.get_token();
  source.reset();
  REQUIRE(token.stop_possible());
  moved = stop_source(troupe::nostopstate);
  REQUIRE_FALSE(token.stop_possible());

  stop_source requested;
  const stop_token asked = requested.get_token();
  requested.request_stop();
  requested = stop_source();
  REQUIRE(asked.stop_possible());
  REQUIRE(asked.stop_requested());
}

TEST_CASE("swapping sources and tokens swaps their states", "[coro][stop]") {
  stop_source a;
  stop_source b;
  stop_token of_a = a.get_token();
  stop_token of_b = b.get_token();
  a.swap(b);
  of_a.swap(of_b);
  REQUIRE(of_a == a.get_token());
  REQUIRE(of_b == b.get_token());
}

TEST_CASE("a callback is called once, by the thread that requests", "[coro][stop]") {
  stop_source source;
  std::thread::id called_on;
  int calls = 0;
  const stop_callback callback(source.get_token(), [&] {
    ++calls;
    called_on = std::this_thread::get_id();
  });
  std::thread([&source] { source.request_stop(); }).join();
  source.request_stop();
  REQUIRE(calls == 1);
  REQUIRE(called_on != std::this_thread::get_id());
}

TEST_CASE("a callback registered after the request is called at once", "[coro][stop]") {
  stop_source source;
  source.request_stop();
  int calls = 0;
  {
    const stop_callback<add_one> callback(source.get_token(), add_one{&calls});
    REQUIRE(calls == 1);
  }
  REQUIRE(calls == 1);
}

TEST_CASE("a callback that was destroyed is not called", "[coro][stop]") {
  stop_source source;
  int calls = 0;
  {
    const stop_callback<add_one> first(source.get_token(), add_one{&calls});
    std::optional<stop_callback<add_one>> second;
    second.emplace(source.get_token(), add_one{&calls});
    const stop_callback<add_one> third(source.get_token(), add_one{&calls});
    second.reset();
  }
  source.request_stop();
  REQUIRE(calls == 0);
}

TEST_CASE("a callback without a state is never called", "[coro][stop]") {
  int calls = 0;
  const stop_callback<add_one> callback(stop_token(), add_one{&calls});
  REQUIRE(calls == 0);
}

TEST_CASE("a callback may destroy itself", "[coro][stop]") {
  stop_source source;
  struct destroy_self {
    std::optional<stop_callback<destroy_self>>* where;
    int* calls;
    void operator()() {
      int* const count = calls;  // this is gone after the next line
      where->reset();
      ++*count;
    }
  };
  int calls = 0;
  std::optional<stop_callback<destroy_self>> callback;
  callback.emplace(source.get_token(), destroy_self{&callback, &calls});
  source.request_stop();
  REQUIRE(calls == 1);
  REQUIRE_FALSE(callback.has_value());
}

TEST_CASE("a callback may destroy another one, which is then not called", "[coro][stop]") {
  stop_source source;
  int calls = 0;
  std::optional<stop_callback<add_one>> a;
  std::optional<stop_callback<add_one>> b;
  auto reset_both = [&] {
    a.reset();
    b.reset();
  };
  a.emplace(source.get_token(), add_one{&calls});
  // Called first or second or third: whatever the order, what was destroyed is not called.
  const stop_callback destroyer(source.get_token(), reset_both);
  b.emplace(source.get_token(), add_one{&calls});
  source.request_stop();
  REQUIRE(calls <= 1);
}

TEST_CASE("a callback may register another one, which is called at once", "[coro][stop]") {
  stop_source source;
  int calls = 0;
  std::optional<stop_callback<add_one>> inner;
  const stop_callback outer(source.get_token(), [&] {
    inner.emplace(source.get_token(), add_one{&calls});
    ++calls;
  });
  source.request_stop();
  REQUIRE(calls == 2);
}

TEST_CASE("destroying a callback waits for it to return on another thread", "[coro][stop]") {
  stop_source source;
  std::atomic<bool> entered{false};
  std::atomic<bool> may_leave{false};
  std::atomic<bool> left{false};
  auto slow = [&] {
    entered.store(true);
    while (!may_leave.load()) std::this_thread::yield();
    left.store(true);
  };
  std::optional<stop_callback<decltype(slow)>> callback;
  callback.emplace(source.get_token(), slow);
  std::thread requester([&source] { source.request_stop(); });
  while (!entered.load()) std::this_thread::yield();
  std::thread releaser([&may_leave] {
    for (int i = 0; i < 100; ++i) std::this_thread::yield();
    may_leave.store(true);
  });
  callback.reset();
  REQUIRE(left.load());
  requester.join();
  releaser.join();
}

TEST_CASE("callbacks come and go while a stop is requested", "[coro][stop][stress]") {
  constexpr int rounds = 500;
  for (int round = 0; round < rounds; ++round) {
    stop_source source;
    std::atomic<int> calls{0};
    std::atomic<bool> alive{true};
    std::atomic<bool> called_after_end{false};
    std::atomic<bool> go{false};
    auto note = [&] {
      calls.fetch_add(1);
      if (!alive.load()) called_after_end.store(true);
    };
    std::thread registrar([&] {
      while (!go.load()) std::this_thread::yield();
      for (int i = 0; i < 20; ++i) {
        const stop_callback first(source.get_token(), note);
        const stop_callback second(source.get_token(), note);
      }
      alive.store(false);
    });
    std::thread requester([&] {
      while (!go.load()) std::this_thread::yield();
      source.request_stop();
    });
    go.store(true);
    requester.join();
    registrar.join();
    REQUIRE_FALSE(called_after_end.load());
    REQUIRE(calls.load() <= 40);
  }
}

TEST_CASE("of many that request a stop at once, one is told that it did", "[coro][stop][stress]") {
  for (int round = 0; round < 200; ++round) {
    stop_source source;
    std::atomic<int> winners{0};
    int calls = 0;
    const stop_callback<add_one> callback(source.get_token(), add_one{&calls});
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([&source, &winners] { winners += source.request_stop() ? 1 : 0; });
    }
    for (std::thread& t : threads) t.join();
    REQUIRE(winners.load() == 1);
    REQUIRE(calls == 1);
  }
}

}  // namespace stop_token_tests
