// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a broker and its cells share; outlives the broker as long as proxies do.
///
/// Layer: broker.

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <troupe/actor/actor_class.hpp>
#include <troupe/actor/cell.hpp>
#include <troupe/actor/cell_life.hpp>
#include <troupe/actor/dead_letter.hpp>
#include <troupe/base/scope_exit.hpp>
#include <troupe/broker/registry.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/task_scope.hpp>
#include <troupe/exec/thread_pool.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

/// Counted: the broker holds it, and so does every cell.
class broker_core final : public cell_owner {
public:
  using dead_letter_handler = std::function<void(const dead_letter&)>;

  broker_core(std::unique_ptr<thread_pool> own, executor& e, dead_letter_handler on_dead)
      : own_(std::move(own)), executor_(e), on_dead_letter_(std::move(on_dead)), spawned_(*this) {}

  friend void add_ref(broker_core* c) noexcept { c->add_ref_owner(); }
  friend void release(broker_core* c) noexcept { c->release_owner(); }

  // --- cell_owner -------------------------------------------------------------------------------
  executor& where() noexcept override { return executor_; }
  void add_ref_owner() noexcept override { references_.fetch_add(1, order::relaxed); }
  void release_owner() noexcept override {
    if (references_.fetch_sub(1, order::acq_rel) == 1) delete this;
  }
  void retire(cell& c) noexcept override { registry_.retire(c); }
  bool closed() const noexcept override { return closed_.load(order::acquire); }
  void created(cell&) noexcept override {
    workers_.fetch_add(1, order::relaxed);
    refresh_tick();
  }
  void destroyed(cell&) noexcept override { workers_.fetch_sub(1, order::relaxed); }
  void dead(cell& c, std::string_view method, const std::error_code& why, std::exception_ptr error,
            cell* from) noexcept override;
  intrusive_ptr<cell> cell_for(const class_request& a, std::string_view key) override {
    return registry_.find_or_make(*this, class_for(a), key);
  }

  /// The tasks of `broker::spawn`. An error is a dead letter, and stops nobody.
  class spawned_tasks final : public task_scope {
  public:
    explicit spawned_tasks(broker_core& c) noexcept
        : task_scope(c.executor_, &spawned_tasks::failed), core_(c) {}
    auto all_ended() noexcept { return wait(*this); }

  private:
    static void failed(task_scope& s, std::exception_ptr e) noexcept {
      static_cast<spawned_tasks&>(s).core_.report(
          dead_letter(worker_id(), "spawn", std::error_code(), std::move(e), caller()));
    }
    broker_core& core_;
  };

  // --- for the broker ---------------------------------------------------------------------------
  spawned_tasks& spawned() noexcept { return spawned_; }
  actor_class& class_for(const class_request& a);
  /// From now on instances of the class are made by `m`.
  void provide(const class_request& a, std::unique_ptr<maker> m);
  intrusive_ptr<cell> find(const class_request& a, std::string_view key) {
    return registry_.find(class_for(a), key);
  }
  intrusive_ptr<cell> find(const worker_id& id) const noexcept { return registry_.find(id); }
  std::vector<intrusive_ptr<cell>> cells() const { return registry_.all(); }
  std::size_t worker_count() const noexcept { return workers_.load(order::relaxed); }
  void refresh_tick() noexcept {
    tick.store(executor_.now().time_since_epoch().count(), order::relaxed);
  }

  /// After everything has ended: no call reaches an instance any more.
  void close() noexcept { closed_.store(true, order::release); }
  /// Calls that come from now on settle `errc::broker_gone`. False if some worker is still there or
  /// busy: close it and ask again.
  bool settle_gone() noexcept;
  void drop_executor() noexcept { own_.reset(); }

private:
  ~broker_core() = default;
  void report(const dead_letter& letter) noexcept;

  atomic<std::size_t> references_{0};
  atomic<std::size_t> workers_{0};    // instances that live
  atomic<bool> closed_{false};        // true: no instance is made any more, for good
  std::unique_ptr<thread_pool> own_;  // the broker's own pool, if it made one
  executor& executor_;                // not to be used once the broker is gone
  dead_letter_handler on_dead_letter_;
  spin_lock classes_lock_;  // guards both below
  std::vector<std::unique_ptr<actor_class>> classes_;
  std::vector<std::unique_ptr<maker>> makers_;  // provided; kept for instances that they made
  registry registry_;
  spawned_tasks spawned_;
};

inline actor_class& broker_core::class_for(const class_request& a) {
  const spin_guard guard(classes_lock_);
  for (const auto& c : classes_) {
    if (c->tag == a.tag) return *c;
  }
  classes_.push_back(std::make_unique<actor_class>(a.name, a.tag));
  classes_.back()->current.store(&a.default_maker(), order::release);
  return *classes_.back();
}

inline void broker_core::provide(const class_request& a, std::unique_ptr<maker> m) {
  actor_class& c = class_for(a);
  const spin_guard guard(classes_lock_);
  makers_.push_back(std::move(m));
  c.current.store(makers_.back().get(), order::release);
}

inline void broker_core::dead(cell& c, std::string_view method, const std::error_code& why,
                              std::exception_ptr error, cell* from) noexcept {
  if (!on_dead_letter_) return;
  try {
    report(dead_letter(c.id(), method, why, std::move(error), make_caller(from)));
  } catch (...) {
    // No memory for the report.
  }
}

inline void broker_core::report(const dead_letter& letter) noexcept {
  if (!on_dead_letter_) return;
  thread_state& state = this_thread_state();
  cell* const outer_worker = std::exchange(state.plain_turn, nullptr);  // not the worker's code
  frame* const outer_frame = std::exchange(state.running, nullptr);
  const scope_exit restore([&]() noexcept {
    state.plain_turn = outer_worker;
    state.running = outer_frame;
  });
  try {
    on_dead_letter_(letter);
  } catch (...) {
    // A report that fails is lost; nothing else is.
  }
}

inline bool broker_core::settle_gone() noexcept {
  bool all = true;
  registry_.for_each([&all](cell& c) noexcept {
    c.settle_gone();
    all = all && c.word() == word_gone;
  });
  return all;
}

}  // namespace troupe::detail
