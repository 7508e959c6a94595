// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What the tests of actors share: a gate that coroutines wait at, a broker on a simulator, a way
/// to wait for a condition, errors as codes.

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <troupe.hpp>
#include <troupe/exec/sim_executor.hpp>

namespace troupe::test {

/// Coroutines that await it wait until it is open. It heeds no stop request: a method that waits
/// here runs for as long as the test wants. Copies are the same gate. From any thread.
class gate {
public:
  gate() : shared_(std::make_shared<shared>()) {}

  void open() {
    std::vector<std::coroutine_handle<>> through;
    {
      const std::lock_guard guard(shared_->mutex);
      shared_->open = true;
      through.swap(shared_->waiting);
    }
    for (const std::coroutine_handle<> h : through) h.resume();
  }

  /// How many have come here so far.
  std::size_t arrived() const {
    const std::lock_guard guard(shared_->mutex);
    return shared_->arrived;
  }

  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> h) {
    const std::lock_guard guard(shared_->mutex);
    ++shared_->arrived;
    if (shared_->open) return false;
    shared_->waiting.push_back(h);
    return true;
  }
  void await_resume() const noexcept {}

private:
  struct shared {
    std::mutex mutex;
    bool open = false;
    std::size_t arrived = 0;
    std::vector<std::coroutine_handle<>> waiting;
  };
  std::shared_ptr<shared> shared_;
};

/// Lets the others run until `condition()`; gives up after more steps than any test needs.
template <class F>
task<> until(F condition) {
  constexpr int patience = 2'000'000;
  for (int i = 0; i < patience; ++i) {
    const bool now = condition();
    if (now) co_return;
    co_await yield();
  }
  throw std::runtime_error("what the test waits for does not come");
}

/// Waits until `g` was reached `count` times.
inline task<> reached(gate g, std::size_t count = 1) {
  // Named: GCC 12 destroys a capturing lambda twice that is a temporary inside a co_await
  // expression.
  const auto arrived = [&g, count] { return g.arrived() >= count; };
  co_await until(arrived);
}

/// How an awaitable ends, as a code; zero if it gives a value.
template <class A>
task<std::error_code> code_of(A awaitable) {
  const auto outcome = co_await as_result(std::move(awaitable));
  co_return outcome.code();
}

/// Awaits anything as a task.
template <class A>
auto as_task(A awaitable) -> task<std::remove_cv_t<detail::await_result_t<A>>> {
  using result = std::remove_cv_t<detail::await_result_t<A>>;
  if constexpr (std::is_void_v<result>) {
    co_await std::move(awaitable);
  } else {
    result value = co_await std::move(awaitable);
    co_return value;
  }
}

/// What a dead letter said.
struct letter {
  letter(const dead_letter& l)
      : key(l.to.key),
        method(l.method),
        reason(l.reason),
        error(l.error),
        from(l.from.key()),
        from_worker(static_cast<bool>(l.from)) {}

  std::string key;
  std::string method;
  std::error_code reason;
  std::exception_ptr error;
  std::string from;
  bool from_worker;
};

/// A broker on a simulator: nothing happens but what `run` drives.
class world {
public:
  explicit world(std::uint64_t seed = 1, unsigned threads = 1)
      : sim(sim_options{.seed = seed, .threads = threads}), broker(options(*this)) {}

  template <class T>
  T run(task<T> t) {
    return sim.run(std::move(t));
  }

  sim_executor sim;
  std::vector<letter> dead;
  troupe::broker broker;

private:
  static broker_options options(world& w) {
    broker_options o;
    o.on = &w.sim;
    o.on_dead_letter = [&w](const dead_letter& l) { w.dead.emplace_back(l); };
    return o;
  }
};

/// The text of an exception, for those that have one.
inline std::string text_of(const std::exception_ptr& e) {
  if (!e) return "";
  try {
    std::rethrow_exception(e);
  } catch (const std::exception& x) {
    return x.what();
  } catch (...) {
    return "?";
  }
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace troupe::test
