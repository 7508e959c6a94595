// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How a coroutine waits in line at an object: the common part of `async_mutex`, `async_semaphore`
/// and `channel`.
///
/// Layer: coro. The place in line is in the waiting coroutine's frame. Where a stop can be
/// requested at all, its shared state is made on first use, from the frame pool.
///
/// Who resumes a waiter is decided by membership in the line, under the lock of the object: whoever
/// takes the node out (the object, to serve it; a stop request, to end the wait) makes its
/// coroutine ready, and nobody else does.

#include <utility>

#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_list.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/chain.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/coro/home.hpp>
#include <troupe/coro/runnable.hpp>
#include <troupe/coro/stop_token.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

class wait_node;

/// Coroutines that wait, oldest first. Guarded by the lock of the object they wait at.
using wait_list = intrusive_list<wait_node>;

/// Coroutines that were served, to be made ready once the lock is released. Both touch no object
/// but the coroutines', which are suspended until then.
using served_queue = forward_queue<runnable, &runnable::next>;

/// One coroutine in line. Base of an awaiter.
class wait_node : public list_hook, private stop_hook {
public:
  /// `lock` guards the line this is going to stand in, and outlives the wait.
  wait_node(spin_lock& lock, frame& f) noexcept
      : stop_hook(&wait_node::on_stop), lock_(lock), frame_(f) {}

  /// The coroutine, to be made ready by whoever took this node out of its line.
  frame& coroutine() const noexcept { return frame_; }

protected:
  /// True if the coroutine is to look whether others wait, also where it need not wait itself.
  bool spent() const noexcept { return frame_.budget == 0; }

  /// Puts `self` at the end of `line`, unless `serve`, called under the lock, is true or a stop was
  /// requested. True if the coroutine is suspended; then neither `self` nor the frame is touched
  /// any more. Not inlined, see `run_child`.
  template <class Serve>
  TROUPE_NOINLINE static bool wait(wait_node& self, wait_list& line, Serve serve);

  /// To be called first when the coroutine goes on: from here on no stop request touches the node.
  /// Throws `errc::cancelled` if one has ended the wait.
  void end_wait() {
    detach();
    if (cancelled_) throw error(errc::cancelled);
  }

private:
  static void on_stop(stop_hook& hook) noexcept;

  spin_lock& lock_;
  frame& frame_;
  bool stopped_ = false;    // guarded by lock_: a stop request came
  bool cancelled_ = false;  // it ended the wait; written before the coroutine is made ready
};

template <class Serve>
TROUPE_NOINLINE bool wait_node::wait(wait_node& self, wait_list& line, Serve serve) {
  frame& f = self.frame_;
  if (self.spent()) {
    self.lock_.lock();
    const bool served = serve();
    self.lock_.unlock();
    if (served) return let_others_run(f);
  }
  bool* const flag = std::exchange(f.completed_inline, nullptr);
  try {
    self.attach(f.chain->stop());
  } catch (...) {
    f.completed_inline = flag;
    throw;
  }
  {
    const spin_guard guard(self.lock_);
    if (!serve()) {
      if (!self.stopped_) {
        line.push_back(self);
        return true;
      }
      self.cancelled_ = true;
    }
  }
  f.completed_inline = flag;
  return false;
}

/// While the node is not in line, it is not there yet, or was served and is on its way: `end_wait`
/// does not return before this has.
inline void wait_node::on_stop(stop_hook& hook) noexcept {
  wait_node& self = static_cast<wait_node&>(hook);
  frame& f = self.frame_;
  {
    const spin_guard guard(self.lock_);
    self.stopped_ = true;
    if (!self.linked()) return;
    wait_list::remove(self);
    self.cancelled_ = true;
  }
  f.where->post(f);
}

/// Makes ready who was served. The object they waited at may be gone already.
inline void make_ready(served_queue& served) noexcept {
  while (runnable* const r = served.pop_front()) {
    frame& f = static_cast<frame&>(*r);
    f.where->post(f);
  }
}

}  // namespace troupe::detail
