// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a model is written with: virtual threads, checked variables, assertions; and what explores
/// it.
///
/// A model is a function. It is run again and again, each time with other choices of who runs next
/// and of which store a load reads, and must do nothing else that differs from run to run. What it
/// allocates by `new` is gone after each execution.

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <model/checker/engine.hpp>

namespace troupe::model {

/// How far one exploration goes. Each of the first four is a number of times in one execution.
struct limits {
  unsigned preemptions = 2;  ///< a thread that could go on is made to wait
  unsigned stale_reads = 2;  ///< a load reads another store than the newest
  unsigned spurious = 0;     ///< a weak compare-exchange fails, a futex wakes, without reason
  unsigned timeouts = 1;     ///< a limited wait ends although others could go on
  std::uint32_t steps = 4000;
  std::uint64_t executions = 3'000'000;  ///< of a search
  std::uint64_t draws = 0;               ///< random executions, after or instead of a search
};

/// A model under its name: `group.name`.
struct scenario {
  scenario(std::string_view name, void (*body)(), limits l = {});

  std::string_view name;
  void (*body)();
  limits bounds;
};

/// All of the program, in the order of their names.
std::vector<const scenario*> scenarios();

/// A virtual thread. Joined before the execution ends.
class thread {
public:
  template <class F>
  explicit thread(F& run) noexcept {
    start([](void* f) { (*static_cast<F*>(f))(); }, &run);
  }
  thread(const thread&) = delete;
  thread& operator=(const thread&) = delete;
  ~thread() { join(); }

  void join() noexcept;

private:
  void start(void (*run)(void*), void* argument) noexcept;

  unsigned index_ = 0;  // 0: joined
};

/// Runs the functions beside each other, to their ends.
inline void run() noexcept {}
template <class F, class... Others>
void run(F first, Others... others) noexcept {
  thread t(first);
  run(std::move(others)...);
}

/// Ends the execution as failed.
[[noreturn]] void fail(std::string_view what, const place& at = place::current()) noexcept;

inline void check(bool good, std::string_view what, const place& at = place::current()) noexcept {
  if (!good) fail(what, at);
}

/// Records an outcome of this execution.
void note(std::int64_t outcome) noexcept;

/// The memory is put back to what it is now before each execution: for what is static.
void keep_static(void* object, std::size_t size);

/// A plain variable. Two accesses of which one writes, and neither happens before the other, are a
/// failure.
template <class T>
class var {
public:
  var() noexcept : var(T()) {}
  explicit var(T value, const place& at = place::current()) noexcept : value_(value) {
    write_plain(known_, this, at);
  }
  var(const var&) = delete;
  var& operator=(const var&) = delete;
  ~var() { destroy_plain(known_, this); }

  T get(const place& at = place::current()) const noexcept {
    read_plain(known_, this, at);
    return value_;
  }
  void set(T value, const place& at = place::current()) noexcept {
    write_plain(known_, this, at);
    value_ = value;
  }

private:
  mutable tag known_;
  T value_;
};

/// How one exploration ended.
struct verdict {
  std::uint64_t executions = 0;
  bool complete = false;     // all executions within the bounds were tried
  std::string failure;       // empty: none
  std::string script;        // the choices that lead to the failure
  std::string interleaving;  // its steps, one a line
  std::set<std::int64_t> outcomes;
  std::uint32_t longest = 0;  // steps

  bool failed() const noexcept { return !failure.empty(); }
};

/// What one order of one operation in the code is, or was made, for one exploration.
struct weakening {
  std::uint32_t site = 0;
  bool of_failure = false;  // the second order of a compare-exchange
  std::memory_order to = std::memory_order_relaxed;
};

/// One atomic operation in the code under test.
struct site {
  std::string file;      // below `include/`
  std::string function;  // its name alone
  unsigned line = 0;
  unsigned column = 0;
  std::string operation;
  bool is_load = false;
  bool is_store = false;
  std::memory_order order = std::memory_order_relaxed;
  std::memory_order failure = std::memory_order_relaxed;
};

/// All sites that explorations have met so far, by number.
std::vector<site> sites();
/// The numbers of those that an exploration of this model alone meets.
std::set<std::uint32_t> sites_of(const scenario& s);

std::string_view name_of(std::memory_order o) noexcept;

verdict search(void (*body)(), const limits& l, const weakening* weaker = nullptr);
verdict draw(void (*body)(), const limits& l, std::uint64_t first_seed, std::uint64_t count,
             const weakening* weaker = nullptr);
verdict replay(void (*body)(), const limits& l, std::string_view script,
               const weakening* weaker = nullptr);

}  // namespace troupe::model
