// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Where one coroutine waits for several: the common part of `when_all` and `when_any`.
///
/// Layer: coro. Lives in the frame of the coroutine that waits.

#include <coroutine>
#include <cstddef>
#include <type_traits>
#include <utility>
#include <variant>

#include <troupe/config.hpp>
#include <troupe/coro/awaitable.hpp>
#include <troupe/coro/chain.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/sync/atomic.hpp>

namespace troupe::detail {

/// Awaitables that must be issued in the order in which they are named (calls of workers).
template <class A>
concept issued_in_order = requires { requires std::remove_cvref_t<A>::issued_in_order; };

/// `void` as a value.
template <class T>
using value_of_t = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

class join_point;

/// One child of a join point.
class branch_base : public completion {
public:
  frame* child = nullptr;
  join_point* join = nullptr;
  std::size_t index = 0;
  bool in_order = false;

protected:
  explicit branch_base(function f) noexcept : completion(f) {}
};

/// The link above the children, and the count of those that still run.
class join_point : public chain_link {
public:
  explicit join_point(link_kind k) noexcept : chain_link(k) {}

  /// Called once by each child that has ended.
  void ended(std::size_t index, bool failed) noexcept {
    if (kind == link_kind::any || failed) first_to(index);
    release();
  }

  /// The first child that ended (`when_any`) or failed (`when_all`); `none` if there is none.
  std::size_t decisive() const noexcept { return decisive_.load(order::relaxed); }
  static constexpr std::size_t none = static_cast<std::size_t>(-1);

  /// Suspends the calling coroutine until all of `branches` have ended.
  class awaiter {
  public:
    awaiter(join_point& join, branch_base* const* branches, std::size_t count,
            frame& parent) noexcept
        : join_(join), branches_(branches), count_(count), parent_(parent) {}

    bool await_ready() const noexcept { return count_ == 0; }
    bool await_suspend(std::coroutine_handle<>) noexcept {
      return join_.start(branches_, count_, parent_);
    }
    void await_resume() const noexcept {}

  private:
    join_point& join_;
    branch_base* const* branches_;
    std::size_t count_;
    frame& parent_;
  };

  class operation {
  public:
    operation(join_point& join, branch_base* const* branches, std::size_t count) noexcept
        : join_(join), branches_(branches), count_(count) {}
    awaiter await_by(frame& parent) && noexcept {
      return awaiter(join_, branches_, count_, parent);
    }

  private:
    join_point& join_;
    branch_base* const* branches_;
    std::size_t count_;
  };

  operation all_ended(branch_base* const* branches, std::size_t count) noexcept {
    return operation(*this, branches, count);
  }

private:
  void first_to(std::size_t index) noexcept {
    std::size_t expected = none;
    if (decisive_.compare_exchange_strong(expected, index, order::relaxed, order::relaxed)) {
      request_stop();
    }
  }

  void release() noexcept {
    // acq_rel: the last one sees what all the others have written to their slots.
    if (running_.fetch_sub(1, order::acq_rel) != 1) return;
    parent_->where->resume(*parent_);
  }

  bool start(branch_base* const* branches, std::size_t count, frame& parent) noexcept;
  static branch_base* fork_rest(branch_base* const* branches, std::size_t count,
                                home& children) noexcept;
  void prepare(branch_base& b, frame& parent, home& children) noexcept;
  void start_here(branch_base& b, frame& parent, thread_state& state) noexcept;

  atomic<std::size_t> running_{0};      // children that run, and one while `start` does
  atomic<std::size_t> decisive_{none};  // set once
  frame* parent_ = nullptr;
};

inline void join_point::prepare(branch_base& b, frame& parent, home& children) noexcept {
  b.join = this;
  b.child->inherit(parent);
  b.child->where = &children;
  b.child->chain = this;
  b.child->then = &b;
}

inline void join_point::start_here(branch_base& b, frame& parent, thread_state& state) noexcept {
  frame& child = *b.child;
  // What only takes its place in line here must do so before the next one does.
  if (!child.fork_calls) {
    if (child.depth % nesting_limit == 0) return child.where->post(child);
    if (parent.budget == 0 && child.where->others_wait()) return child.where->yield(child);
  }
  if (parent.budget == 0) {
    child.refill();
  } else {
    child.budget = parent.budget - 1;
  }
  if (!start_inline(child, state)) return;
  parent.budget = child.budget;
  b.done();
}

/// True if the parent is suspended. Children that need an order are started here one after the
/// other; their calls are queued rather than run, so that they run beside each other. Of the rest,
/// the first runs here and the others are left to whoever serves the home, so that none of them
/// can keep another from its start.
TROUPE_NOINLINE inline bool join_point::start(branch_base* const* branches, std::size_t count,
                                              frame& parent) noexcept {
  join(parent.chain);
  make_stoppable();
  limited = true;
  parent_ = &parent;
  running_.store(count + 1, order::relaxed);
  bool* const parents_flag = std::exchange(parent.completed_inline, nullptr);
  thread_state& state = this_thread_state();
  home& children = parent.where->children();
  for (std::size_t i = 0; i < count; ++i) prepare(*branches[i], parent, children);
  for (std::size_t i = 0; i < count; ++i) {
    branch_base& b = *branches[i];
    if (!b.in_order) continue;
    b.child->fork_calls = i + 1 < count;
    start_here(b, parent, state);
  }
  const bool runs_here =
      state.loop == &children || (children.serial() && parent.where == &children);
  if (branch_base* const here = fork_rest(branches, count, children)) {
    if (runs_here) {
      start_here(*here, parent, state);
    } else {
      children.fork(*here->child);
    }
  }
  if (running_.fetch_sub(1, order::acq_rel) != 1) return true;  // `this` may be gone
  parent.completed_inline = parents_flag;
  state.running = &parent;
  return false;
}

/// Leaves all children that need no order to `children`, but for the first, which is returned;
/// `nullptr`: there is none. They run in order: a serial home is a queue, a thread's deque a stack.
inline branch_base* join_point::fork_rest(branch_base* const* branches, std::size_t count,
                                          home& children) noexcept {
  branch_base* here = nullptr;
  if (children.serial()) {
    for (std::size_t i = 0; i < count; ++i) {
      if (branches[i]->in_order) continue;
      if (here != nullptr) children.fork(*branches[i]->child);
      if (here == nullptr) here = branches[i];
    }
    return here;
  }
  for (std::size_t i = count; i-- > 0;) {
    if (branches[i]->in_order) continue;
    if (here != nullptr) children.fork(*here->child);
    here = branches[i];
  }
  return here;
}

/// A child whose result is a `T`.
template <class T>
class branch : public branch_base {
public:
  template <class A>
  explicit branch(A&& awaitable)
      : branch_base(&branch::on_done), task_(start(std::forward<A>(awaitable))) {
    in_order = issued_in_order<A>;
    child = &task_.promise();
    task_.promise().result = &result_;
  }

  result_slot<T>& result() noexcept { return result_; }

  value_of_t<T> take() {
    if constexpr (std::is_void_v<T>) {
      result_.take();
      return {};
    } else {
      return result_.take();
    }
  }

private:
  template <class A>
  static auto start(A&& awaitable) {
    if constexpr (is_task<std::remove_cvref_t<A>>) {
      return started_task<T>(awaitable.release());
    } else {
      return started_task<T>(await_only<T, A&&>(std::forward<A>(awaitable)).release());
    }
  }

  static void on_done(completion& c) noexcept {
    auto& self = static_cast<branch&>(c);
    self.join->ended(self.index, self.result_.failed());
  }

  result_slot<T> result_;
  started_task<T> task_;
};

template <class A>
using branch_for = branch<std::remove_cv_t<await_result_t<A>>>;

}  // namespace troupe::detail
