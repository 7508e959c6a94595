// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A random program of actors for the simulation tests: everything a broker offers, in any order,
/// under the eyes of the monitors. What it does is drawn from the simulation's random numbers.

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <troupe.hpp>

#include "monitors.hpp"

namespace troupe::test {

/// What kinds of workers there are: each class differs in what it says of itself.
inline constexpr std::size_t kind_count = 7;
inline constexpr std::size_t key_count = 2;
enum kind_number : std::size_t {
  usual,
  refusing,  // no reentrancy, little room, refuses what has none
  interleaving,
  threaded,  // a thread of its own, which blocks
  dropping,  // little room, drops the oldest
  hooked,    // starts and stops with coroutines, and fails to start at times
  guarded    // refuses calls at times
};

constexpr actor_options options_of_kind(std::size_t kind) {
  actor_options o;
  if (kind == refusing) {
    o.mailbox_capacity = 2;
    o.overflow = overflow::refuse;
    o.reentrancy = reentrancy::none;
  }
  if (kind == interleaving) o.reentrancy = reentrancy::interleaved;
  if (kind == threaded) o.placement = placement::own_thread;
  if (kind == dropping) {
    o.mailbox_capacity = 1;
    o.overflow = overflow::drop_old;
  }
  return o;
}

/// One run of the program.
class workload {
public:
  workload(sim_executor& sim, monitors& m) noexcept : sim_(sim), monitors_(m) {}

  /// Registers the factories with `b`, which it uses from now on. First of all.
  void begin(broker& b);

  /// The whole program.
  task<> run();

  /// Some random steps, made by the method of the call `caller`, or by such a caller.
  task<> act(std::uint32_t caller, unsigned depth);

  monitors& watch() noexcept { return monitors_; }
  std::uint64_t draw(std::uint64_t count) noexcept { return sim_.random() % count; }
  duration short_time() noexcept { return std::chrono::microseconds(draw(3000)); }

  static std::string key_of(std::size_t key) { return key == 0 ? "" : std::to_string(key); }
  static std::size_t number_of(std::size_t kind, std::string_view key) {
    return kind * key_count + (key.empty() ? 0 : 1);
  }

private:
  template <std::size_t Kind>
  task<> call(std::uint32_t caller, std::size_t key, unsigned depth);
  template <std::size_t Kind>
  task<> call_two_at_once(std::uint32_t caller, std::size_t key);
  template <std::size_t Kind>
  task<> administer(std::size_t key);
  template <std::size_t Kind>
  void tell(std::uint32_t caller, std::size_t key);
  template <std::size_t Kind>
  task<> step_with(std::uint32_t caller, std::size_t key, unsigned depth);

  task<> step(std::uint32_t caller, unsigned depth);
  task<> call_any(std::uint32_t caller, unsigned depth);
  task<> fork(std::uint32_t caller, unsigned depth);
  task<> race(std::uint32_t caller, unsigned depth);
  task<> stop_midway(std::uint32_t caller, unsigned depth);
  task<> client();
  task<> spawned(monitors::life_of_task life);

  sim_executor& sim_;
  broker* broker_ = nullptr;
  monitors& monitors_;
};

/// Ends the record of a method, however it is left.
class method_scope {
public:
  method_scope(workload& w, std::uint32_t id) : load_(w), id_(id) { w.watch().start(id); }
  method_scope(const method_scope&) = delete;
  method_scope& operator=(const method_scope&) = delete;
  ~method_scope() { load_.watch().end(id_, !left_); }

  /// Some methods fail here.
  void leave() {
    constexpr std::uint64_t failures = 12;  // one in so many
    if (load_.draw(failures) == 0) throw planned_failure();
    left_ = true;
  }

private:
  workload& load_;
  const std::uint32_t id_;
  bool left_ = false;
};

/// What all workers can do.
template <std::size_t Kind>
class common {
public:
  static constexpr actor_options options = options_of_kind(Kind);

  common(context& ctx, workload& w) : ctx_(ctx), load_(w), number_(w.number_of(Kind, ctx.key())) {
    if (Kind == hooked) fail_at_times();
    load_.watch().constructed(number_);
  }
  common(const common&) = delete;
  common& operator=(const common&) = delete;
  ~common() { load_.watch().destroyed(number_); }

  int quick(std::uint32_t id) {
    method_scope scope(load_, id);
    if constexpr (Kind == threaded) {
      if (load_.draw(2) == 0) sync_wait(sleep_for(load_.short_time()));
    }
    load_.watch().runs(id);
    start_something();
    scope.leave();
    return static_cast<int>(id);
  }

  task<int> slow(std::uint32_t id, unsigned depth) {
    method_scope scope(load_, id);
    start_something();
    co_await load_.act(id, depth);
    load_.watch().runs(id);
    scope.leave();
    co_return static_cast<int>(id);
  }

  void note(std::uint32_t id) {
    method_scope scope(load_, id);
    scope.leave();
  }
  task<> note_slowly(std::uint32_t id) {
    method_scope scope(load_, id);
    co_await sleep_for(load_.short_time());
    load_.watch().runs(id);
    scope.leave();
  }

protected:
  void fail_at_times() {
    if (load_.draw(8) == 0) throw planned_failure();
  }
  task<> take_time() { co_await sleep_for(load_.short_time()); }

private:
  static task<> beside(workload& w, monitors::life_of_task) {
    co_await w.act(w.watch().begin_caller(), 2);
    if (w.draw(8) == 0) throw planned_failure();
  }

  /// What an instance begins and its end has to end.
  void start_something() {
    switch (load_.draw(12)) {
      case 0:
        ctx_.spawn(beside(load_, monitors::life_of_task(load_.watch())));
        break;
      case 1:
        ctx_.after(load_.short_time(), [] {});
        break;
      case 2:
        ctx_.every(std::chrono::milliseconds(1 + load_.draw(5)), [] {});
        break;
      case 3:
        ctx_.deactivate_when_idle();
        break;
      case 4:
        ctx_.keep_alive(load_.short_time());
        break;
      default:
        break;
    }
  }

  context& ctx_;
  workload& load_;
  const std::size_t number_;
};

template <std::size_t Kind>
class node : public common<Kind> {
public:
  using common<Kind>::common;
};

template <>
class node<hooked> : public common<hooked> {
public:
  using common<hooked>::common;
  task<> on_start() {
    co_await take_time();
    fail_at_times();
  }
  task<> on_stop() {
    co_await take_time();
    fail_at_times();
  }
};

template <>
class node<guarded> : public common<guarded> {
public:
  using common<guarded>::common;
  void before_call(const call_info&) { fail_at_times(); }
};

}  // namespace troupe::test
