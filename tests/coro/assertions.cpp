// SPDX-License-Identifier: MIT
// Broken preconditions end the program with a message that says which. Each is broken in a child
// process, whose standard error is read.

#include <troupe/config.hpp>

#include "../support/catch.hpp"

#if defined(__unix__) || defined(__APPLE__)

#  include <sys/wait.h>
#  include <unistd.h>

#  include <chrono>
#  include <coroutine>
#  include <csignal>
#  include <memory>
#  include <optional>
#  include <string>
#  include <utility>

#  include <troupe/coro/async_mutex.hpp>
#  include <troupe/coro/async_semaphore.hpp>
#  include <troupe/coro/channel.hpp>
#  include <troupe/coro/sleep.hpp>
#  include <troupe/coro/sync_wait.hpp>
#  include <troupe/coro/task.hpp>
#  include <troupe/coro/task_scope.hpp>
#  include <troupe/exec/sim_executor.hpp>

namespace {

using namespace std::chrono_literals;
using troupe::task;

struct death {
  bool aborted = false;
  std::string message;
};

/// Runs `act` in a child process. Only from a test without threads.
template <class F>
death dying(F act) {
  int ends[2];
  if (::pipe(ends) != 0) return {};
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGABRT, SIG_DFL);  // the test framework's handler would report it as its own
    ::dup2(ends[1], STDERR_FILENO);
    ::close(ends[0]);
    act();
    ::_exit(0);
  }
  ::close(ends[1]);
  death seen;
  char buffer[1024];
  for (ssize_t n; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
    seen.message.append(buffer, static_cast<std::size_t>(n));
  }
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  seen.aborted = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
  return seen;
}

task<> sleep_long() { co_await troupe::sleep_for(1h); }
task<int> give() { co_return 1; }

/// A task of which a foreign awaitable keeps hold, so that it can be destroyed while suspended.
struct never {
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  void await_resume() const noexcept {}
};
task<> wait_for_ever() { co_await never{}; }

/// Starts a task by hand, as a root, and destroys it while it is suspended.
void destroy_suspended() {
  troupe::sim_executor sim;
  troupe::detail::started_task<void> started(wait_for_ever().release());
  troupe::detail::result_slot<void> result;
  started.promise().result = &result;
  troupe::detail::root_link link(sim);
  started.promise().where = &sim;
  started.promise().chain = &link;
  sim.post(started.promise());
  sim.advance(1s);
}

void await_twice() {
  task<int> t = give();
  troupe::sync_wait(std::move(t));
  troupe::sync_wait(std::move(t));
}

task<> leave_scope(std::optional<troupe::task_scope>& scope) {
  scope.emplace();
  scope->spawn(sleep_long());
  co_await troupe::yield();
  scope.reset();
}

void destroy_scope() {
  std::optional<troupe::task_scope> scope;
  troupe::sync_wait(leave_scope(scope));
}

void destroy_locked_mutex() {
  auto mutex = std::make_unique<troupe::async_mutex>();
  const troupe::async_lock lock = mutex->try_lock();
  mutex.reset();
  ::_exit(0);  // not reached; else the lock would be given back to what is no more
}

void unlock_twice() {
  troupe::async_mutex mutex;
  troupe::async_lock lock = mutex.try_lock();
  lock.unlock();
  lock.unlock();
}

task<> acquire(troupe::async_semaphore& semaphore) { co_await semaphore.acquire(); }
task<> receive(troupe::channel<int>& channel) {
  const std::optional<int> value = co_await channel.receive();
  static_cast<void>(value);
}

template <class T>
task<> destroy_behind(task<> waiting, std::unique_ptr<T>& object) {
  troupe::task_scope scope;
  scope.spawn(std::move(waiting));
  co_await troupe::yield();
  object.reset();
  co_await scope.join();
}

void destroy_semaphore() {
  auto semaphore = std::make_unique<troupe::async_semaphore>(0);
  troupe::sync_wait(destroy_behind(acquire(*semaphore), semaphore));
}

void destroy_channel() {
  auto channel = std::make_unique<troupe::channel<int>>(1);
  troupe::sync_wait(destroy_behind(receive(*channel), channel));
}

void channel_of_nothing() { const troupe::channel<int> channel(0); }

void two_simulators() {
  const troupe::sim_executor one;
  const troupe::sim_executor two;
}

void check(void (*act)(), const char* message) {
  const death seen = dying(act);
  CAPTURE(message, seen.message);
  REQUIRE(seen.aborted);
  REQUIRE(seen.message.find(message) != std::string::npos);
}

}  // namespace

TEST_CASE("destroying a suspended task is an assertion", "[coro][assertion]") {
  check(&destroy_suspended, "a task was destroyed while it was suspended");
}

TEST_CASE("awaiting a task twice is an assertion", "[coro][assertion]") {
  check(&await_twice, "a task is awaited once");
}

TEST_CASE("destroying a scope with children running is an assertion", "[coro][assertion]") {
  check(&destroy_scope, "a task_scope was destroyed while children run");
}

TEST_CASE("destroying what coroutines wait for is an assertion", "[coro][assertion]") {
  check(&destroy_locked_mutex, "an async_mutex was destroyed while it is locked");
  check(&destroy_semaphore, "an async_semaphore was destroyed while coroutines wait for it");
  check(&destroy_channel, "a channel was destroyed while coroutines wait at it");
}

TEST_CASE("unlocking what is not owned is an assertion", "[coro][assertion]") {
  check(&unlock_twice, "an async_lock was unlocked that owns nothing");
}

TEST_CASE("a channel without room is an assertion", "[coro][assertion]") {
  check(&channel_of_nothing, "a channel holds at least one element");
}

TEST_CASE("a second simulator on one thread is an assertion", "[coro][assertion]") {
  check(&two_simulators, "a thread has one sim_executor at a time");
}

#endif
