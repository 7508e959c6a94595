// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Who is told what becomes of one worker.
///
/// Layer: actor. The list owns nothing but a count of each watcher. It is a block of its own, which
/// a worker that was abandoned shares with the one in its place: who watches either watches both.

#include <cstdint>
#include <exception>
#include <string_view>
#include <utility>

#include <troupe/actor/outside_code.hpp>
#include <troupe/actor/supervision.hpp>
#include <troupe/base/intrusive_list.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/base/unique_function.hpp>
#include <troupe/base/worker_id.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/thread_state.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe {

/// What a `monitor` is told. The references and views hold for as long as it is being told.
struct worker_notice {
  enum kind_type : std::uint8_t {
    failed,  ///< A method or the start has thrown `error`; `follows` says what will happen.
    stopped  ///< The instance is gone; `follows` is `restart` if another one comes by itself.
  };

  worker_notice(kind_type k, const worker_id& i, std::string_view m, std::exception_ptr e,
                directive f)
      : kind(k), id(i), method(m), error(std::move(e)), follows(f) {}

  kind_type kind;
  const worker_id& id;
  std::string_view method;   ///< Which method has failed; empty: none.
  std::exception_ptr error;  ///< Of a failure.
  /// `resume`, `restart` or `stop`. After a start that has failed, `restart` says that the pause
  /// has begun; an instance comes after it by itself only where there had been one before.
  directive follows;
};

namespace detail {

/// One who is told. Counted: the monitor holds it, the list, and whoever tells it.
class watcher final : public list_hook {
public:
  using function = unique_function<void(const worker_notice&)>;

  explicit watcher(function f) : function_(std::move(f)) {}

  friend void add_ref(watcher* w) noexcept { w->references_.fetch_add(1, order::relaxed); }
  friend void release(watcher* w) noexcept {
    // Pairs with itself: what others did with it happens before its end.
    if (w->references_.fetch_sub(1, order::acq_rel) == 1) delete w;
  }

private:
  friend class watch_list;
  ~watcher() = default;

  atomic<std::uint32_t> references_{0};
  function function_;
  // Both guarded by the lock of the list.
  std::uint64_t told_ = 0;           // the last notice it was told
  thread_state* told_by_ = nullptr;  // the thread that tells it now
};

/// The watchers of a worker. Counted by each cell that tells them.
///
/// Thread safety: all members from any thread.
class watch_list final {
public:
  friend void add_ref(watch_list* l) noexcept { l->references_.fetch_add(1, order::relaxed); }
  friend void release(watch_list* l) noexcept {
    // Pairs with itself: what the other cell did with it happens before its end.
    if (l->references_.fetch_sub(1, order::acq_rel) == 1) delete l;
  }

  void add(watcher& w) noexcept {
    add_ref(&w);
    const spin_guard guard(lock_);
    watchers_.push_back(w);
  }

  /// After this the watcher is told nothing any more, nor is it being told, unless this is called
  /// from within.
  void remove(watcher& w) noexcept {
    lock_.lock();
    watchers_.remove(w);
    while (w.told_by_ != nullptr && w.told_by_ != &this_thread_state()) {
      lock_.unlock();
      cpu_relax();
      lock_.lock();
    }
    lock_.unlock();
    release(&w);
  }

  bool empty() const noexcept {
    const spin_guard guard(lock_);
    return watchers_.empty();
  }

  /// Tells those who watch now, with no lock held. What they throw is dropped. Waits while another
  /// thread tells them something: two cells may have the list.
  void tell(const worker_notice& notice) noexcept {
    const outside_code outside;
    std::uint64_t number = 0;
    thread_state* const around = begin_to_tell(number);
    while (const intrusive_ptr<watcher> w = next_to_tell(number)) {
      try {
        w->function_(notice);
      } catch (...) {
      }
      const spin_guard guard(lock_);
      w->told_by_ = nullptr;
    }
    const spin_guard guard(lock_);
    teller_ = around;
  }

private:
  ~watch_list() = default;

  /// The calling thread is the one that tells. Who was before: nobody, or itself, where what it has
  /// told has ended another instance.
  thread_state* begin_to_tell(std::uint64_t& number) noexcept {
    thread_state* const self = &this_thread_state();
    lock_.lock();
    while (teller_ != nullptr && teller_ != self) {
      lock_.unlock();
      cpu_relax();
      lock_.lock();
    }
    thread_state* const around = std::exchange(teller_, self);
    number = ++notices_;
    lock_.unlock();
    return around;
  }

  /// Who has not been told this one yet. Goes to the end, so that the order is the same afterwards.
  intrusive_ptr<watcher> next_to_tell(std::uint64_t number) noexcept {
    const spin_guard guard(lock_);
    if (watchers_.empty() || watchers_.front().told_ == number) return nullptr;
    watcher& w = watchers_.front();
    watchers_.remove(w);
    watchers_.push_back(w);
    w.told_ = number;
    w.told_by_ = &this_thread_state();
    return intrusive_ptr<watcher>(&w);
  }

  atomic<std::uint32_t> references_{0};
  mutable spin_lock lock_;  // guards all below
  intrusive_list<watcher> watchers_;
  std::uint64_t notices_ = 0;
  thread_state* teller_ = nullptr;  // the thread that tells now
};

/// A cell's hold on its list.
///
/// Thread safety: all members from any thread, but for `share`.
class monitors {
public:
  /// Throws `std::bad_alloc`.
  monitors() : list_(new watch_list) {}

  /// Takes the list of another cell for its own. Before anybody else knows this one.
  void share(const monitors& other) noexcept { list_ = other.list_; }

  void add(watcher& w) noexcept { list_->add(w); }
  void remove(watcher& w) noexcept { list_->remove(w); }
  bool empty() const noexcept { return list_->empty(); }
  void tell(const worker_notice& notice) noexcept { list_->tell(notice); }

private:
  intrusive_ptr<watch_list> list_;
};

}  // namespace detail
}  // namespace troupe
