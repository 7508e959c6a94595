// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `task_scope` and `with_scope`: children that do not outlive their scope.
///
/// Layer: coro. One pooled block per child, besides its frame.

#include <cstddef>
#include <exception>
#include <type_traits>
#include <utility>

#include <troupe/base/intrusive_list.hpp>
#include <troupe/base/result.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/chain.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/coro/frame_pool.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe {

/// Runs any number of tasks beside the coroutine in which it stands, and waits for them.
///
/// Make it in the coroutine whose children it holds: they inherit its stop token, its deadline and,
/// in a worker's method, its turn. Made elsewhere, it starts its children when it is joined.
/// Destroying it with children running is a broken precondition: `co_await join()` first, or use
/// `with_scope`.
///
/// Thread safety: all members but the destructor from any thread.
class task_scope {
public:
  task_scope() noexcept;
  task_scope(const task_scope&) = delete;
  task_scope& operator=(const task_scope&) = delete;
  ~task_scope() {
    TROUPE_ASSERT(children_ == 0, "a task_scope was destroyed while children run; join it first");
  }

  /// Starts `child`. The first child that fails stops the others; `join` throws its error.
  void spawn(task<> child);

  /// Waits until no child is left; throws the error of the child that failed first, once.
  [[nodiscard("a scope is joined when this is awaited")]] task<> join();

  /// Asks all children to stop. Does not wait.
  void request_stop() noexcept { link_.request_stop(); }

protected:
  /// What becomes of a child's error instead: it is the handler's, and stops nobody.
  using error_handler = void (*)(task_scope&, std::exception_ptr) noexcept;

  /// Children start at `h`, below nobody.
  task_scope(home& h, error_handler handler) noexcept;

  detail::chain_link& link() noexcept { return link_; }

  class wait;  // awaited, no child is left

  bool has_children() const noexcept {
    const spin_guard guard(lock_);
    return children_ != 0;
  }

private:
  class child;

  void start(child& c) noexcept;
  void start_waiting(detail::frame& joining) noexcept;
  void ended(std::exception_ptr error) noexcept;
  std::exception_ptr take_error() noexcept;

  detail::chain_link link_;
  error_handler handler_ = nullptr;
  home* home_ = nullptr;            // where children start; nullptr: not known before `join`
  detail::frame* above_ = nullptr;  // the coroutine that made the scope, for traces

  mutable spin_lock lock_;                            // guards all below
  std::size_t children_ = 0;                          // spawned and not ended
  detail::frame* joining_ = nullptr;                  // suspended in `join`
  std::exception_ptr error_;                          // of the child that failed first
  forward_queue<runnable, &runnable::next> waiting_;  // children to be started by `join`
};

/// One child: owns its frame, and deletes itself when it has ended.
class task_scope::child final : public detail::pooled, public detail::completion, public runnable {
public:
  child(task_scope& scope, task<> t)
      : completion(&child::on_done), runnable(&child::finish), scope_(scope), task_(t.release()) {
    task_.promise().result = &result_;
    task_.promise().then = this;
  }

  detail::frame& coroutine() const noexcept { return task_.promise(); }

private:
  /// From within the child's last step: the frame is still being left, so the rest is for the loop.
  static void on_done(completion& c) noexcept { detail::run_next(static_cast<child&>(c)); }

  static void finish(runnable& r) noexcept {
    child& self = static_cast<child&>(r);
    task_scope& scope = self.scope_;
    std::exception_ptr error;
    if (self.result_.failed()) error = self.result_.error();
    delete &self;
    scope.ended(std::move(error));
  }

  task_scope& scope_;
  detail::result_slot<void> result_;
  detail::started_task<void> task_;
};

inline task_scope::task_scope() noexcept : link_(detail::link_kind::scope) {
  above_ = detail::this_thread_state().running;
  if (above_ != nullptr) {
    link_.join(above_->chain);
    home_ = &above_->where->children();
  }
  link_.make_stoppable();
  link_.limited = true;
}

inline task_scope::task_scope(home& h, error_handler handler) noexcept
    : link_(detail::link_kind::root), handler_(handler), home_(&h) {
  link_.make_stoppable();
  link_.limited = true;
}

inline void task_scope::spawn(task<> t) {
  auto* const c = new child(*this, std::move(t));
  {
    const spin_guard guard(lock_);
    ++children_;
    if (home_ == nullptr) return waiting_.push_back(*c);
  }
  start(*c);
}

inline void task_scope::start(child& c) noexcept {
  detail::frame& f = c.coroutine();
  f.chain = &link_;
  f.where = home_;
  f.parent = above_;
  home_->fork(f);
}

/// Starts what was spawned before there was a coroutine to inherit from.
inline void task_scope::start_waiting(detail::frame& joining) noexcept {
  {
    const spin_guard guard(lock_);
    if (home_ != nullptr) return;
    link_.join(joining.chain);
    link_.make_stoppable();
    link_.limited = true;
    above_ = &joining;
    home_ = &joining.where->children();
  }
  while (runnable* const r = waiting_.pop_front()) start(static_cast<child&>(*r));
}

inline void task_scope::ended(std::exception_ptr error) noexcept {
  if (error && handler_ != nullptr) handler_(*this, std::exchange(error, nullptr));
  if (error) {
    // First this, then the stop: an error that the stop brings about is not the first one.
    {
      const spin_guard guard(lock_);
      if (!error_) error_ = std::move(error);
    }
    request_stop();
  }
  detail::frame* joined = nullptr;
  {
    const spin_guard guard(lock_);
    if (--children_ == 0) joined = std::exchange(joining_, nullptr);
  }
  if (joined != nullptr) joined->where->resume(*joined);  // the scope may be gone from here on
}

inline std::exception_ptr task_scope::take_error() noexcept {
  const spin_guard guard(lock_);
  return std::exchange(error_, nullptr);
}

/// Suspends the joining coroutine until no child is left.
class task_scope::wait {
public:
  explicit wait(task_scope& scope) noexcept : scope_(scope) {}

  class awaiter {
  public:
    awaiter(task_scope& scope, detail::frame& f) noexcept : scope_(scope), frame_(f) {}
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<>) noexcept { return suspend(scope_, frame_); }
    void await_resume() const noexcept {}

  private:
    TROUPE_NOINLINE static bool suspend(task_scope& scope, detail::frame& f) noexcept {
      scope.start_waiting(f);
      bool* const flag = std::exchange(f.completed_inline, nullptr);
      const spin_guard guard(scope.lock_);
      if (scope.children_ != 0) {
        TROUPE_ASSERT(scope.joining_ == nullptr, "a task_scope is joined by one coroutine");
        scope.joining_ = &f;
        return true;
      }
      f.completed_inline = flag;
      return false;
    }

    task_scope& scope_;
    detail::frame& frame_;
  };

  awaiter await_by(detail::frame& f) && noexcept { return awaiter(scope_, f); }

private:
  task_scope& scope_;
};

inline task<> task_scope::join() {
  wait all(*this);
  co_await std::move(all);
  if (const std::exception_ptr error = take_error()) std::rethrow_exception(error);
}

namespace detail {

/// Also what `body` throws before it gives a task comes out of the task.
template <class T, class F>
task<T> run_scoped(F& body, task_scope& scope) {
  co_return co_await body(scope);
}

}  // namespace detail

/// Calls `body(scope)`, awaits the task it gives, then all children; gives the body's result. Where
/// the body throws, the children are asked to stop and awaited before the exception goes on.
template <class F>
auto with_scope(F body) -> std::invoke_result_t<F&, task_scope&> {
  using T = typename std::invoke_result_t<F&, task_scope&>::value_type;
  task_scope scope;
  // Made before anything runs that would have to be awaited: later there may be no memory for it.
  task<result<void>> join = as_result(scope.join());
  result<T> outcome = co_await as_result(detail::run_scoped<T>(body, scope));
  if (!outcome.has_value()) scope.request_stop();
  result<void> joined = co_await std::move(join);
  if (outcome.has_value()) joined.value();
  co_return std::move(outcome).value();
}

}  // namespace troupe
