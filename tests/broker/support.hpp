// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What the tests of the broker share: gates, counts of instances, codes, collected dead letters.

#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <troupe/actor/dead_letter.hpp>
#include <troupe/actor/sendable.hpp>
#include <troupe/base/error.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/async_semaphore.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/task.hpp>

#include "../support/catch.hpp"

namespace troupe::test {

/// Closed until somebody opens it, then open for good. Waiting heeds a stop request.
class gate {
public:
  void open() noexcept { passes_.release(); }
  task<> pass() {
    co_await passes_.acquire();
    passes_.release();
  }
  /// The same for one who does not heed a stop request.
  task<> pass_all_the_same() {
    bool passed = passes_.try_acquire();
    while (!passed) {
      co_await troupe::yield();
      passed = passes_.try_acquire();
    }
    passes_.release();
  }

private:
  async_semaphore passes_{0};
};

}  // namespace troupe::test

// Tests hand these to methods and see to it themselves that they live long enough.
namespace troupe {
class broker;
}
template <>
inline constexpr bool troupe::enable_sendable<troupe::test::gate*> = true;
template <>
inline constexpr bool troupe::enable_sendable<troupe::broker*> = true;
template <>
inline constexpr bool troupe::enable_sendable<std::string*> = true;

namespace troupe::test {

/// How many instances of something were made and destroyed.
struct instance_count {
  std::atomic<int> made{0};
  std::atomic<int> destroyed{0};
  int living() const noexcept { return made.load() - destroyed.load(); }
};

/// A member that counts its owner.
class counted {
public:
  explicit counted(instance_count& c) noexcept : count_(c) { ++count_.made; }
  counted(const counted&) = delete;
  counted& operator=(const counted&) = delete;
  ~counted() { ++count_.destroyed; }

private:
  instance_count& count_;
};

/// How an awaitable ends, as a code; zero if it gives a value.
template <class A>
task<std::error_code> code_of(A awaitable) {
  const auto outcome = co_await as_result(std::move(awaitable));
  co_return outcome.code();
}

/// The exception with which an awaitable ends; empty if it gives a value.
template <class A>
task<std::exception_ptr> error_of(A awaitable) {
  std::exception_ptr thrown;
  try {
    static_cast<void>(co_await std::move(awaitable));
  } catch (...) {
    thrown = std::current_exception();
  }
  co_return thrown;
}

inline std::string what_of(const std::exception_ptr& e) {
  if (!e) return "no exception";
  try {
    std::rethrow_exception(e);
  } catch (const std::exception& x) {
    return x.what();
  } catch (...) {
    return "not a std::exception";
  }
}

inline std::error_code code_in(const std::exception_ptr& e) {
  if (!e) return {};
  try {
    std::rethrow_exception(e);
  } catch (const std::system_error& x) {
    return x.code();
  } catch (...) {
    return std::make_error_code(std::errc::interrupted);
  }
}

/// What is nested in the exception, as text.
inline std::string nested_in(const std::exception_ptr& e) {
  if (!e) return "no exception";
  try {
    std::rethrow_exception(e);
  } catch (const std::exception& x) {
    try {
      std::rethrow_if_nested(x);
    } catch (...) {
      return what_of(std::current_exception());
    }
    return "nothing nested";
  } catch (...) {
    return "not a std::exception";
  }
}

/// Lets others run until `reached()`; a bound of steps turns a hang into a failure.
template <class F>
task<> until(F reached) {
  constexpr long patience = 2'000'000;
  for (long i = 0; !reached(); ++i) {
    if (i == patience) throw std::runtime_error("what was waited for did not happen");
    co_await troupe::yield();
  }
}

/// The same on a thread.
template <class F>
void spin_until(F reached) {
  while (!reached()) std::this_thread::yield();
}

/// Collects dead letters, from any thread.
class dead_letters {
public:
  struct letter {
    std::string to, method, reason, error;
  };

  auto collector() {
    return [this](const dead_letter& l) {
      const std::lock_guard guard(mutex_);
      letters_.push_back({to_string(l.to), std::string(l.method),
                          l.reason ? l.reason.message() : std::string(),
                          l.error ? what_of(l.error) : std::string()});
    };
  }

  std::size_t count() const {
    const std::lock_guard guard(mutex_);
    return letters_.size();
  }
  letter at(std::size_t i) const {
    const std::lock_guard guard(mutex_);
    return letters_.at(i);
  }

private:
  mutable std::mutex mutex_;
  std::vector<letter> letters_;
};

}  // namespace troupe::test

/// Flags of tests outlive the workers that are given them.
template <>
inline constexpr bool troupe::enable_sendable<std::atomic<bool>*> = true;
