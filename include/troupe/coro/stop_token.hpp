// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Cooperative cancellation: `stop_source`, `stop_token`, `stop_callback`.
///
/// Layer: coro. The interface of the standard's types of the same names, which libc++ 16 does not
/// have; the shared state comes from the frame pool, so that a scope costs no `malloc` in the
/// steady state. Registering a callback allocates nothing.

#include <cstdint>
#include <type_traits>
#include <utility>

#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/frame_pool.hpp>
#include <troupe/coro/thread_state.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe {
namespace detail {

class stop_state;

/// Something to be told of a stop request: a node in the list of a `stop_state`.
///
/// `attach` runs the function at once, on this thread, if stop was requested before. `detach`
/// returns only when the function is not running on another thread, and will not be called any
/// more; called from within the function itself it returns at once.
class stop_hook {
public:
  using function = void (*)(stop_hook&) noexcept;

  explicit stop_hook(function f) noexcept : call_(f) {}
  stop_hook(const stop_hook&) = delete;
  stop_hook& operator=(const stop_hook&) = delete;
  ~stop_hook() { detach(); }

  void attach(stop_state* state) noexcept;
  void detach() noexcept {
    if (attached()) detach_attached();
  }

  bool attached() const noexcept { return state_ != nullptr; }

  /// Attaches; false, without calling the function, if stop was requested before. `nullptr` is
  /// never asked.
  bool try_attach(stop_state* state) noexcept;

private:
  friend class stop_state;

  void detach_attached() noexcept;

  function call_;
  stop_state* state_ = nullptr;  // what it is attached to; counted
  stop_hook* next_ = nullptr;
  stop_hook** previous_next_ = nullptr;  // the pointer that points here; nullptr: not in the list
};

/// What sources, tokens and hooks of one scope share. Counted.
class stop_state final : public pooled {
public:
  bool requested() const noexcept { return requested_.load(order::acquire); }

  /// Runs the hooks on this thread. False if somebody else requested before.
  bool request() noexcept;

  friend void add_ref(stop_state* s) noexcept { s->references_.fetch_add(1, order::relaxed); }
  friend void release(stop_state* s) noexcept {
    if (s->references_.fetch_sub(1, order::acq_rel) == 1) delete s;
  }

  /// How many `stop_source`s there are; without any, nobody can request a stop.
  atomic<std::uint32_t> sources{0};

private:
  friend class stop_hook;

  bool add(stop_hook& hook) noexcept;
  void remove(stop_hook& hook) noexcept;

  // false: nobody asked; true: somebody did, for good. The exchange in `request` (acq_rel) pairs
  // with the acquire load in `requested`: what was written before the request is seen after it.
  atomic<bool> requested_{false};
  atomic<std::uint32_t> references_{0};
  spin_lock lock_;                  // guards all below
  stop_hook* first_ = nullptr;      // hooks not yet called
  stop_hook* calling_ = nullptr;    // the hook that runs now, if any ...
  thread_state* caller_ = nullptr;  // ... and the thread on which it does
};

inline bool stop_state::request() noexcept {
  if (requested_.exchange(true, order::acq_rel)) return false;
  lock_.lock();
  caller_ = &this_thread_state();
  while (first_ != nullptr) {
    stop_hook* const hook = first_;
    first_ = hook->next_;
    if (first_ != nullptr) first_->previous_next_ = &first_;
    hook->previous_next_ = nullptr;
    calling_ = hook;
    lock_.unlock();
    hook->call_(*hook);  // may destroy the hook
    lock_.lock();
    calling_ = nullptr;
  }
  lock_.unlock();
  return true;
}

/// False if stop was requested already; then the hook is not in the list.
inline bool stop_state::add(stop_hook& hook) noexcept {
  const spin_guard guard(lock_);
  if (requested_.load(order::relaxed)) return false;  // `request` empties the list under the lock
  hook.next_ = first_;
  hook.previous_next_ = &first_;
  if (first_ != nullptr) first_->previous_next_ = &hook.next_;
  first_ = &hook;
  return true;
}

inline void stop_state::remove(stop_hook& hook) noexcept {
  lock_.lock();
  if (hook.previous_next_ != nullptr) {
    *hook.previous_next_ = hook.next_;
    if (hook.next_ != nullptr) hook.next_->previous_next_ = hook.previous_next_;
    hook.previous_next_ = nullptr;
  } else if (caller_ != &this_thread_state()) {
    while (calling_ == &hook) {  // it runs elsewhere: wait until it has returned
      lock_.unlock();
      cpu_relax();
      lock_.lock();
    }
  }
  lock_.unlock();
}

inline void stop_hook::attach(stop_state* state) noexcept {
  TROUPE_ASSERT(state_ == nullptr, "a stop hook is attached once at a time");
  if (state == nullptr) return;
  add_ref(state);
  state_ = state;
  if (!state->add(*this)) call_(*this);
}

inline bool stop_hook::try_attach(stop_state* state) noexcept {
  TROUPE_ASSERT(state_ == nullptr, "a stop hook is attached once at a time");
  if (state == nullptr) return true;
  if (!state->add(*this)) return false;
  add_ref(state);
  state_ = state;
  return true;
}

inline void stop_hook::detach_attached() noexcept {
  stop_state* const state = std::exchange(state_, nullptr);
  state->remove(*this);
  release(state);
}

}  // namespace detail

/// A view of whether a stop was requested. Cheap to copy; may outlive its source.
///
/// Thread safety: different objects may be used from different threads at once.
class stop_token {
public:
  stop_token() noexcept = default;
  explicit stop_token(intrusive_ptr<detail::stop_state> state) noexcept
      : state_(std::move(state)) {}

  /// True once somebody has requested a stop.
  [[nodiscard]] bool stop_requested() const noexcept { return state_ && state_->requested(); }

  /// True if a stop was requested or still can be.
  [[nodiscard]] bool stop_possible() const noexcept {
    return state_ && (state_->requested() || state_->sources.load(detail::order::relaxed) != 0);
  }

  void swap(stop_token& other) noexcept { std::swap(state_, other.state_); }
  friend bool operator==(const stop_token& a, const stop_token& b) noexcept {
    return a.state_.get() == b.state_.get();
  }

private:
  template <class F>
  friend class stop_callback;

  intrusive_ptr<detail::stop_state> state_;
};

/// Tag: a `stop_source` that can never be asked.
struct nostopstate_t {
  explicit nostopstate_t() = default;
};
inline constexpr nostopstate_t nostopstate{};

/// Requests a stop of all who hold its tokens. Copies share one state.
///
/// Thread safety: different objects may be used from different threads at once.
class stop_source {
public:
  stop_source() : state_(new detail::stop_state) { count(+1); }
  explicit stop_source(nostopstate_t) noexcept {}
  stop_source(const stop_source& other) noexcept : state_(other.state_) { count(+1); }
  stop_source(stop_source&& other) noexcept : state_(std::move(other.state_)) {}
  stop_source& operator=(stop_source other) noexcept {
    swap(other);
    return *this;
  }
  ~stop_source() { count(-1); }

  /// Asks; runs the callbacks on this thread. False if somebody asked before, or nobody can.
  bool request_stop() noexcept { return state_ && state_->request(); }

  [[nodiscard]] stop_token get_token() const noexcept { return stop_token(state_); }
  [[nodiscard]] bool stop_requested() const noexcept { return state_ && state_->requested(); }
  [[nodiscard]] bool stop_possible() const noexcept { return static_cast<bool>(state_); }

  void swap(stop_source& other) noexcept { std::swap(state_, other.state_); }
  friend bool operator==(const stop_source& a, const stop_source& b) noexcept {
    return a.state_.get() == b.state_.get();
  }

private:
  void count(int change) noexcept {
    if (state_)
      state_->sources.fetch_add(static_cast<std::uint32_t>(change), detail::order::relaxed);
  }

  intrusive_ptr<detail::stop_state> state_;
};

/// Calls `F` once when a stop is requested: on the thread that requests it, or in the constructor
/// if it was requested before. The destructor waits for a call that runs on another thread.
///
/// An exception from `F` ends the program.
template <class F>
class stop_callback : private detail::stop_hook {
public:
  using callback_type = F;

  template <class C>
    requires std::is_constructible_v<F, C>
  explicit stop_callback(const stop_token& token, C&& callback)
      : stop_hook(&stop_callback::invoke), callback_(std::forward<C>(callback)) {
    attach(token.state_.get());
  }
  stop_callback(const stop_callback&) = delete;
  stop_callback& operator=(const stop_callback&) = delete;
  ~stop_callback() { detach(); }  // before callback_ goes

private:
  static void invoke(stop_hook& hook) noexcept {
    std::move(static_cast<stop_callback&>(hook).callback_)();
  }

  F callback_;
};

template <class F>
stop_callback(stop_token, F) -> stop_callback<F>;

}  // namespace troupe
