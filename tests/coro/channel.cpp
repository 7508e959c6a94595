// SPDX-License-Identifier: MIT
// What is sent is received once and in order; who waits, and how closing and stopping end it.

#include <troupe/coro/channel.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <troupe/base/error.hpp>
#include <troupe/base/hash.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/task_scope.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/coro/within.hpp>
#include <troupe/exec/sim_executor.hpp>
#include <troupe/exec/thread_pool.hpp>

#include "../support/catch.hpp"
#include "run_on.hpp"

namespace channel_tests {
namespace {

using namespace std::chrono_literals;
using troupe::channel;
using troupe::errc;
using troupe::sync_wait;
using troupe::task;

task<int> send_some(channel<int>& c, int first, int count) {
  int sent = 0;
  for (int i = 0; i < count; ++i) {
    const bool ok = co_await c.send(first + i);
    if (!ok) break;
    ++sent;
  }
  co_return sent;
}

task<std::vector<int>> receive_all(channel<int>& c) {
  std::vector<int> received;
  for (;;) {
    const std::optional<int> value = co_await c.receive();
    if (!value) break;
    received.push_back(*value);
  }
  co_return received;
}

task<int> send_then_close(channel<int>& c, int count) {
  const int sent = co_await send_some(c, 0, count);
  c.close();
  co_return sent;
}

task<std::vector<int>> pass_through(std::size_t capacity, int count) {
  channel<int> c(capacity);
  auto [sent, received] = co_await troupe::when_all(send_then_close(c, count), receive_all(c));
  if (sent != count) received.clear();
  co_return std::move(received);
}

std::vector<int> numbers(int count) {
  std::vector<int> result;
  for (int i = 0; i < count; ++i) result.push_back(i);
  return result;
}

task<std::unique_ptr<int>> send_pointer(channel<std::unique_ptr<int>>& c) {
  const bool sent = co_await c.send(std::make_unique<int>(5));
  if (!sent) co_return nullptr;
  std::optional<std::unique_ptr<int>> received = co_await c.receive();
  co_return std::move(*received);
}

task<> stop_soon(channel<int>& c, troupe::duration d) {
  co_await troupe::sleep_for(d);
  c.close();
}

task<std::pair<int, int>> close_while_sender_waits() {
  channel<int> c(2);
  auto [sent, closed] = co_await troupe::when_all(send_some(c, 0, 5), stop_soon(c, 1s));
  const std::vector<int> left = co_await receive_all(c);
  co_return std::pair(sent, static_cast<int>(left.size()));
}

task<std::size_t> close_while_receivers_wait() {
  channel<int> c(2);
  auto [a, b, closed] = co_await troupe::when_all(receive_all(c), receive_all(c), stop_soon(c, 1s));
  co_return a.size() + b.size();
}

task<int> receive_one(channel<int>& c) {
  const std::optional<int> value = co_await c.receive();
  co_return value.value_or(-1);
}

task<int> receiver_gives_up(channel<int>& c) {
  const std::error_code code = co_await troupe::test::code_of(troupe::within(receive_one(c), 1s));
  if (code != errc::timed_out) co_return -2;
  int value = 7;
  if (!c.try_send(value)) co_return -3;
  const int received = co_await receive_one(c);
  co_return received;
}

task<std::size_t> sender_gives_up(channel<int>& c) {
  const int filled = co_await send_some(c, 0, static_cast<int>(c.capacity()));
  const std::error_code code =
      co_await troupe::test::code_of(troupe::within(send_some(c, 100, 1), 1s));
  if (code != errc::timed_out) co_return 999;
  c.close();
  const std::vector<int> left = co_await receive_all(c);
  co_return left == numbers(filled) ? left.size() : 998;
}

}  // namespace

TEST_CASE("what is sent is received in order", "[coro][channel]") {
  for (const std::size_t capacity : {1u, 2u, 7u, 1000u}) {
    CAPTURE(capacity);
    REQUIRE(sync_wait(pass_through(capacity, 500)) == numbers(500));
    troupe::sim_executor sim({.seed = capacity, .threads = 2});
    REQUIRE(sim.run(pass_through(capacity, 500)) == numbers(500));
  }
  troupe::thread_pool pool({.threads = 2});
  REQUIRE(troupe::test::run_on(pool, pass_through(3, 20'000)) == numbers(20'000));
}

TEST_CASE("a channel carries what can only be moved", "[coro][channel]") {
  channel<std::unique_ptr<int>> c(1);
  REQUIRE(*sync_wait(send_pointer(c)) == 5);
}

TEST_CASE("try_send and try_receive never wait", "[coro][channel]") {
  channel<std::unique_ptr<int>> c(2);
  REQUIRE(c.capacity() == 2);
  REQUIRE_FALSE(c.try_receive().has_value());
  auto value = std::make_unique<int>(1);
  REQUIRE(c.try_send(value));
  REQUIRE(value == nullptr);
  REQUIRE(c.try_send(std::make_unique<int>(2)));
  REQUIRE(c.size() == 2);
  auto kept = std::make_unique<int>(3);
  REQUIRE_FALSE(c.try_send(kept));
  REQUIRE(*kept == 3);
  REQUIRE(**c.try_receive() == 1);
  REQUIRE(**c.try_receive() == 2);
  REQUIRE(c.size() == 0);
}

TEST_CASE("a closed channel takes nothing and still gives what it holds", "[coro][channel]") {
  channel<int> c(3);
  REQUIRE(sync_wait(send_some(c, 0, 2)) == 2);
  REQUIRE_FALSE(c.closed());
  c.close();
  c.close();
  REQUIRE(c.closed());
  REQUIRE_FALSE(c.try_send(5));
  REQUIRE(sync_wait(send_some(c, 5, 1)) == 0);
  REQUIRE(sync_wait(receive_all(c)) == numbers(2));
  REQUIRE_FALSE(c.try_receive().has_value());
}

TEST_CASE("closing ends the wait of senders and of receivers", "[coro][channel]") {
  troupe::sim_executor sim;
  REQUIRE(sim.run(close_while_sender_waits()) == std::pair(2, 2));
  REQUIRE(sim.run(close_while_receivers_wait()) == 0);
}

TEST_CASE("a stop ends the wait of a receiver, and nothing is lost by it", "[coro][channel]") {
  troupe::sim_executor sim;
  channel<int> c(1);
  REQUIRE(sim.run(receiver_gives_up(c)) == 7);
}

TEST_CASE("a stop ends the wait of a sender, and its value is not sent", "[coro][channel]") {
  troupe::sim_executor sim;
  channel<int> c(3);
  REQUIRE(sim.run(sender_gives_up(c)) == 3);
}

TEST_CASE("what a channel still holds is destroyed with it", "[coro][channel]") {
  const auto shared = std::make_shared<int>(1);
  {
    channel<std::shared_ptr<int>> c(4);
    REQUIRE(c.try_send(std::shared_ptr<int>(shared)));
    REQUIRE(c.try_send(std::shared_ptr<int>(shared)));
    REQUIRE(c.try_receive().has_value());
    REQUIRE(shared.use_count() == 2);
  }
  REQUIRE(shared.use_count() == 1);
}

namespace {

/// Sends a range, now and then giving up on a value and trying it again.
task<> stubborn_sender(channel<int>& c, int first, int count, std::uint64_t seed,
                       std::atomic<int>& senders) {
  for (int i = 0; i < count;) {
    const auto patience = std::chrono::microseconds(troupe::splitmix64(seed) % 50);
    const auto outcome =
        co_await troupe::as_result(troupe::within(send_some(c, first + i, 1), patience));
    // A value may have been sent although time was up: the channel's own count would tell, so the
    // test sends the others without a limit.
    if (!outcome.has_value()) co_await send_some(c, -1, 1);
    ++i;
  }
  if (senders.fetch_sub(1) == 1) c.close();
}

task<std::pair<int, int>> census(channel<int>& c) {
  int values = 0;
  int gaps = 0;
  int newest[4] = {-1, -1, -1, -1};
  for (;;) {
    const std::optional<int> value = co_await c.receive();
    if (!value) break;
    ++values;
    if (*value < 0) continue;
    int& before = newest[*value / 1'000'000];
    if (*value <= before) ++gaps;
    before = *value;
  }
  co_return std::pair(values, gaps);
}

task<std::pair<int, int>> senders_and_receivers(std::uint64_t seed, int count) {
  channel<int> c(2);
  std::atomic<int> senders{3};
  const auto [a, b, d, x, y] = co_await troupe::when_all(
      stubborn_sender(c, 0, count, seed + 1, senders),
      stubborn_sender(c, 1'000'000, count, seed + 2, senders),
      stubborn_sender(c, 2'000'000, count, seed + 3, senders), census(c), census(c));
  co_return std::pair(x.first + y.first, x.second + y.second);
}

}  // namespace

TEST_CASE("senders, receivers, stops and closing race", "[coro][channel][stress]") {
  constexpr int count = 300;
  const std::uint64_t seed = 4711;
  CAPTURE(seed);
  troupe::thread_pool pool({.threads = 2});
  const auto [values, gaps] = troupe::test::run_on(pool, senders_and_receivers(seed, count));
  REQUIRE(values >= 3 * count);
  REQUIRE(values <= 6 * count);
  REQUIRE(gaps == 0);
  for (std::uint64_t s = 1; s <= 10; ++s) {
    CAPTURE(s);
    troupe::sim_executor sim({.seed = s, .threads = 2, .buggify = s % 2 == 0});
    const auto [sim_values, sim_gaps] = sim.run(senders_and_receivers(s, 30));
    REQUIRE(sim_values >= 90);
    REQUIRE(sim_gaps == 0);
  }
}

}  // namespace channel_tests
