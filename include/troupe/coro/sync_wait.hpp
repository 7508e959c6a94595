// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `sync_wait`: the way out of coroutines, which blocks a thread.
///
/// Layer: coro. One or two pooled frames; no thread is woken as long as nothing suspends.

#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

#include <troupe/base/error.hpp>
#include <troupe/coro/awaitable.hpp>
#include <troupe/coro/blocking_loop.hpp>
#include <troupe/coro/chain.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/root.hpp>
#include <troupe/coro/task.hpp>

namespace troupe {
namespace detail {

/// Throws `errc::would_block` on a thread that runs coroutines and must not stop doing so.
inline void refuse_to_block() {
  const thread_state& state = this_thread_state();
  if (state.loop != nullptr && !state.may_block) throw error(errc::would_block);
}

/// What is above a coroutine that a thread waits for: the coroutine that thread runs for, if any.
inline chain_link* chain_of_this_thread() noexcept {
  const thread_state& state = this_thread_state();
  return state.running != nullptr ? state.running->chain : state.blocking;
}

/// Marks the turn that this thread runs for, if any, as one in which nothing can nest.
class blocked_chain {
public:
  explicit blocked_chain(chain_link* chain) noexcept : chain_(chain) { mark(true); }
  blocked_chain(const blocked_chain&) = delete;
  blocked_chain& operator=(const blocked_chain&) = delete;
  ~blocked_chain() { mark(false); }

  chain_link* chain() const noexcept { return chain_; }

private:
  void mark(bool blocked) noexcept {
    if (chain_ == nullptr || chain_->call == nullptr || !this_thread_state().may_block) return;
    chain_->call->thread_blocked.store(blocked, order::release);
  }

  chain_link* const chain_;
};

/// Runs `root` to its end on this thread's own loop.
inline void run_root(frame& root, executor* pool) {
  blocking_loop loop(pool);
  bool done = false;
  root_done set_done(done);
  root_link link(loop);
  const blocked_chain blocked(chain_of_this_thread());
  if (blocked.chain() != nullptr) link.join(blocked.chain());
  root.where = &loop;
  root.chain = &link;
  root.then = &set_done;
  loop.run_until(root, done);
}

/// Runs `t` to its end on an executor that this thread drives. Without memory the root stands on
/// the stack, and cannot stay behind.
template <class T>
T block_driven(task<T> t, executor& e) {
  using root_type = driven_root_of<T>;
  const blocked_chain blocked(chain_of_this_thread());
  std::optional<root_type> here;
  std::unique_ptr<root_type> apart(new (std::nothrow) root_type(e, blocked.chain(), t));
  root_type& root = apart ? *apart : here.emplace(e, blocked.chain(), t);
  if (const std::exception_ptr why = root.drive(e)) {
    if (!root.done()) {
      if (!apart) std::terminate();
      driven_root::abandon(*apart.release());
    }
    std::rethrow_exception(why);
  }
  return root.take();
}

/// Blocks until `t` has ended; children of `t` go to `pool`, if there is one.
template <class T>
T block_on(task<T> t, executor* pool) {
  refuse_to_block();
  executor* driven = this_thread_state().bound;
  if (pool != nullptr && pool->driven_by_waiting()) driven = pool;
  if (driven != nullptr) return block_driven(std::move(t), *driven);
  result_slot<T> result;
  started_task<T> root(t.release());
  root.promise().result = &result;
  run_root(root.promise(), pool);
  return result.take();
}

template <class T, class A>
task<T> await_only(A&& awaitable) {
  co_return co_await static_cast<A&&>(awaitable);
}

/// What awaiting an `A` gives, without a reference to what is gone when the root has ended.
template <class A, class T = std::remove_cv_t<await_result_t<A>>>
using kept_result_t = std::conditional_t<std::is_rvalue_reference_v<T>, std::remove_cvref_t<T>, T>;

}  // namespace detail

/// Runs `awaitable` to its end, blocking this thread, and gives its result or throws its exception.
///
/// The root coroutine runs on this thread, which serves it for as long as it waits. On a thread
/// that runs coroutines this would stop them: it throws `errc::would_block` there (threads of
/// `own_thread` workers and of `offload` may block).
template <class A>
auto sync_wait(A&& awaitable) -> detail::kept_result_t<A> {
  using T = detail::kept_result_t<A>;
  if constexpr (std::is_same_v<A, task<T>>) {
    return detail::block_on(std::move(awaitable), nullptr);
  } else {
    return detail::block_on(detail::await_only<T, A>(std::forward<A>(awaitable)), nullptr);
  }
}

}  // namespace troupe
