// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A module that runs in this process: its library mapped, its code on the host's threads.
///
/// Layer: function. Linux.
///
/// What keeps a library mapped is counted here, not in the module: threads that are inside of it,
/// and work of its that waits for a thread. Only when the module has said that it has ended, and
/// nobody is inside any more, is the instance destroyed and the library let go, by a thread that
/// may block and stands in no frame of it.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <troupe/base/error.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/frame_pool.hpp>
#include <troupe/coro/offload.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/function/guest_executor.hpp>
#include <troupe/function/module_format.hpp>
#include <troupe/function/module_instance.hpp>
#include <troupe/function/shared_library.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

class in_process_instance final : public module_instance, private timer {
public:
  in_process_instance(executor& on, instance_owner& owner)
      : timer(&in_process_instance::on_time), on_(on), owner_(owner) {
    host_.size = sizeof host_;
    host_.abi = troupe_module_abi;
    host_.self = this;
    host_.post = &in_process_instance::post;
    host_.now = &in_process_instance::now;
    host_.random = &in_process_instance::random;
    host_.wake_at = &in_process_instance::wake_at;
    host_.call = &in_process_instance::call_out;
    on_.arm(*this, never - std::chrono::hours(1));  // from now on it needs no memory
    on_.disarm(*this);
  }

  /// Maps the library and makes the instance: runs the module's code, and may block. Throws
  /// `errc::start_failed`; then the object may be destroyed.
  void open(const module_image& image);

  // --- module_instance --------------------------------------------------------------------------
  isolation kept() const noexcept override { return isolation::in_process; }
  const module_manifest& manifest() const noexcept override { return manifest_; }
  inline void call(module_call& c) noexcept override;
  inline void stop(std::uint64_t call_id) noexcept override;
  inline void close() noexcept override;
  bool kill(errc, std::string_view) noexcept override { return false; }
  std::size_t memory() const noexcept override { return library_->size(); }

private:
  /// Work that the module has posted.
  class posted_work final : public runnable, public pooled {
  public:
    posted_work(in_process_instance& i, void (*work)(void*), void* context) noexcept
        : runnable(&posted_work::run), instance_(i), work_(work), context_(context) {}

  private:
    static void run(runnable& r) noexcept {
      auto* const self = static_cast<posted_work*>(&r);
      in_process_instance& instance = self->instance_;
      const auto work = self->work_;
      void* const context = self->context_;
      delete self;
      work(context);
      instance.leave();
    }

    in_process_instance& instance_;
    void (*const work_)(void*);
    void* const context_;
  };

  /// A call that the module has made; it is inside until that has been settled.
  struct call_on_its_way final : pooled {
    call_on_its_way(in_process_instance& i, troupe_settled s, void* c) noexcept
        : instance(i), settled(s), context(c) {}
    in_process_instance& instance;
    const troupe_settled settled;
    void* const context;
  };

  class step final : public runnable {
  public:
    step(in_process_instance& i, run_function f) noexcept : runnable(f), instance(i) {}
    in_process_instance& instance;
  };

  // --- troupe_module_host -----------------------------------------------------------------------
  static in_process_instance& at(void* self) noexcept {
    return *static_cast<in_process_instance*>(self);
  }
  static void post(void* self, void (*work)(void*), void* context) noexcept {
    in_process_instance& i = at(self);
    i.enter();
    i.on_.post(*new posted_work(i, work, context));  // without memory for it the program ends
  }
  static std::int64_t now(void* self) noexcept { return to_nanoseconds(at(self).on_.now()); }
  static std::uint64_t random(void* self) noexcept { return at(self).on_.random(); }
  static void wake_at(void* self, std::int64_t when) noexcept;
  static void call_out(void* self, troupe_bytes module, troupe_bytes version, troupe_bytes function,
                       std::uint32_t format, troupe_bytes key, troupe_bytes payload,
                       std::int64_t deadline, troupe_settled settled, void* context) noexcept;
  static void call_settled(void* context, std::uint32_t outcome, std::uint32_t code,
                           troupe_bytes reply) noexcept;

  static void on_time(timer& t) noexcept;
  static void wake(runnable& r) noexcept;

  // --- who is inside ----------------------------------------------------------------------------
  void enter() noexcept { inside_.fetch_add(1, order::relaxed); }
  bool try_enter() noexcept {
    std::uint64_t count = inside_.load(order::relaxed);
    while (count != 0) {
      if (inside_.compare_exchange_weak(count, count + 1, order::relaxed, order::relaxed)) {
        return true;
      }
    }
    return false;
  }
  /// The last touch.
  void leave() noexcept {
    // Acquire and release: who lets the library go comes after all who were inside.
    if (inside_.fetch_sub(1, order::acq_rel) == 1) begin_to_go();
  }
  void begin_to_go() noexcept;
  static void go(runnable& r) noexcept;

  // --- calls and the end ------------------------------------------------------------------------
  // `callers_` counts who is inside `call`, and has `closing` set, for good, once no more may come.
  // The one after whom nobody is left begins the end. Acquire and release, so that it comes after
  // the others.
  static constexpr std::uint64_t closing = std::uint64_t{1} << 63;
  void caller_left() noexcept {
    if (callers_.fetch_sub(1, order::acq_rel) == (closing | 1)) begin_to_close();
  }
  void begin_to_close() noexcept;
  static void ended(void* self) noexcept { at(self).leave(); }

  executor& on_;
  instance_owner& owner_;
  troupe_module_host host_{};
  std::optional<shared_library> library_;
  module_manifest manifest_;
  void* guest_ = nullptr;
  atomic<std::uint64_t> callers_{0};
  atomic<bool> close_begun_{false};
  atomic<std::uint64_t> inside_{1};  // the first is the module's own, until it has ended
  spin_lock wake_lock_;              // taken to arm the timer
  atomic<std::int64_t> armed_{(std::numeric_limits<std::int64_t>::max)()};  // for when; a hint
  atomic<bool> wake_posted_{false};
  step wake_{*this, &in_process_instance::wake};
  step go_{*this, &in_process_instance::go};
};

inline void in_process_instance::open(const module_image& image) {
  library_.emplace(image);
  manifest_ = manifest_of(library_->table());
  struct failure {
    std::string text = "its create() gave no reason";
  } why;
  const auto fail = [](void* context, const char* text) {
    static_cast<failure*>(context)->text = text;
  };
  guest_ = library_->table().create(&host_, fail, &why);
  if (guest_ != nullptr) return;
  library_.reset();
  throw error(errc::start_failed, worker_id(), "the module could not be created: " + why.text);
}

inline void in_process_instance::call(module_call& c) noexcept {
  if ((callers_.fetch_add(1, order::acq_rel) & closing) != 0) {
    caller_left();
    return c.give_back();
  }
  enter();
  library_->table().call(guest_, &c);
  caller_left();
  leave();
}

inline void in_process_instance::stop(std::uint64_t call_id) noexcept {
  if (!try_enter()) return;
  library_->table().stop(guest_, call_id);
  leave();
}

inline void in_process_instance::close() noexcept {
  if (callers_.fetch_or(closing, order::acq_rel) == 0) begin_to_close();
}

/// Who came too late may have been the last to leave once more.
inline void in_process_instance::begin_to_close() noexcept {
  if (close_begun_.exchange(true, order::acq_rel)) return;
  enter();
  library_->table().close(guest_, &in_process_instance::ended, this);
  leave();
}

inline void in_process_instance::begin_to_go() noexcept {
  try {
    on_.offload(go_);
  } catch (...) {
    go_.run();  // no thread for it: this one stands in no frame of the module
  }
}

inline void in_process_instance::go(runnable& r) noexcept {
  in_process_instance& self = static_cast<step&>(r).instance;
  self.on_.disarm(self);
  self.library_->table().destroy(self.guest_);
  self.library_.reset();
  self.owner_.ended(self);
}

// --- what the module asks for
// ---------------------------------------------------------------------

inline void in_process_instance::wake_at(void* self, std::int64_t when) noexcept {
  in_process_instance& i = at(self);
  if (i.armed_.load(order::acquire) <= when) return;
  const spin_guard guard(i.wake_lock_);
  if (i.armed_.load(order::acquire) <= when) return;
  i.on_.disarm(i);
  i.armed_.store(when, order::release);
  i.on_.arm(i, from_nanoseconds(when));
}

/// It takes no lock: `wake_at` waits for it with one held.
inline void in_process_instance::on_time(timer& t) noexcept {
  auto& self = static_cast<in_process_instance&>(t);
  if (!self.try_enter()) return;
  self.armed_.store((std::numeric_limits<std::int64_t>::max)(), order::release);
  // Release for the `wake` that it leaves the work to, acquire of the one that is over: see there.
  if (self.wake_posted_.exchange(true, order::acq_rel)) return self.leave();
  self.on_.post(self.wake_);
}

inline void in_process_instance::wake(runnable& r) noexcept {
  in_process_instance& self = static_cast<step&>(r).instance;
  // Acquire: the timer that found this one posted already, and posted none, has stored that it is
  // not armed any more before its own exchange. The module's next `wake_at` has to see that, or it
  // would arm nothing. Release: the timer that finds `false` may post the same step again.
  static_cast<void>(self.wake_posted_.exchange(false, order::acq_rel));  // pairs with on_time
  self.library_->table().wake(self.guest_);
  self.leave();
}

inline void in_process_instance::call_out(void* self, troupe_bytes module, troupe_bytes version,
                                          troupe_bytes function, std::uint32_t format,
                                          troupe_bytes key, troupe_bytes payload,
                                          std::int64_t deadline, troupe_settled settled,
                                          void* context) noexcept {
  in_process_instance& i = at(self);
  i.enter();
  outgoing_call c;
  c.module = as_text(module);
  c.version = as_text(version);
  c.function = as_text(function);
  c.key = as_text(key);
  c.format = format;
  c.payload = payload;
  c.deadline = from_nanoseconds(deadline);
  c.settled = &in_process_instance::call_settled;
  c.context = new call_on_its_way(i, settled, context);
  i.owner_.call(i, c);
}

inline void in_process_instance::call_settled(void* context, std::uint32_t outcome,
                                              std::uint32_t code, troupe_bytes reply) noexcept {
  auto* const c = static_cast<call_on_its_way*>(context);
  in_process_instance& instance = c->instance;
  c->settled(c->context, outcome, code, reply);
  delete c;
  instance.leave();
}

// --- starting it
// ----------------------------------------------------------------------------------

class in_process_launcher final : public module_launcher {
public:
  task<std::unique_ptr<module_instance>> start(module_launch launch) override {
    auto made = std::make_unique<in_process_instance>(launch.on, launch.owner);
    auto open = [&made, image = launch.image] { made->open(image); };
    auto opened = offload(std::move(open));
    co_await std::move(opened);
    co_return std::unique_ptr<module_instance>(std::move(made));
  }

  /// A library and a broker.
  std::size_t cost() const noexcept override { return std::size_t{1} << 20; }
};

}  // namespace troupe::detail
