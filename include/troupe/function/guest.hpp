// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// An instance of a module, as its host has made it: a broker of its own, on the host's threads.
///
/// Layer: function. In the module's library.

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include <troupe/actor/maker_of.hpp>
#include <troupe/base/intrusive_list.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/broker/broker.hpp>
#include <troupe/coro/frame_pool.hpp>
#include <troupe/coro/root.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/function/caller_stamp.hpp>
#include <troupe/function/guest_executor.hpp>
#include <troupe/function/module_abi.hpp>
#include <troupe/function/module_format.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

class guest;

/// One call of the host. Counted: as long as its method runs, and while somebody asks it to stop.
class guest_call : public pooled, public list_hook {
public:
  guest_call(guest& g, troupe_module_call& call);
  guest_call(const guest_call&) = delete;
  guest_call& operator=(const guest_call&) = delete;
  virtual ~guest_call() = default;

  std::uint64_t id() const noexcept { return id_; }

  /// Leaves the request to a place where user code may run.
  void ask_to_stop() noexcept;

  friend void add_ref(guest_call* c) noexcept { c->references_.fetch_add(1, order::relaxed); }
  friend void release(guest_call* c) noexcept {
    if (c->references_.fetch_sub(1, order::acq_rel) == 1) c->destroy();
  }

protected:
  /// Runs the root of the call, here and now, as far as it goes.
  void begin(frame& root) noexcept;

  troupe_module_call& call() const noexcept { return *call_; }
  guest& owner() const noexcept { return guest_; }

  /// Settles the call, once.
  void settle(std::uint32_t outcome, std::uint32_t code, troupe_bytes reply) noexcept {
    call_->settle(call_, outcome, code, reply);
  }

  /// The root has ended.
  virtual void settle_ended() noexcept = 0;

private:
  class done final : public completion, public runnable {
  public:
    explicit done(guest_call& c) noexcept
        : completion(&done::on_done), runnable(&done::finish), call_(c) {}

  private:
    /// From within the root's last step: the frame is still being left, the rest is for the loop.
    static void on_done(completion& c) noexcept { run_next(static_cast<done&>(c)); }
    static void finish(runnable& r) noexcept { static_cast<done&>(r).call_.end(); }
    guest_call& call_;
  };
  class stopper final : public runnable {
  public:
    explicit stopper(guest_call& c) noexcept : runnable(&stopper::stop), call_(c) {}

  private:
    static void stop(runnable& r) noexcept {
      guest_call& c = static_cast<stopper&>(r).call_;
      c.link_.request_stop();
      release(&c);
    }
    guest_call& call_;
  };

  void end() noexcept;
  void destroy() noexcept;

  guest& guest_;
  troupe_module_call* call_;
  const std::uint64_t id_;
  root_link link_;
  intrusive_ptr<cell> caller_;
  done done_{*this};
  stopper stopper_{*this};
  atomic<bool> stopping_{false};  // true: a request was made, for good
  atomic<std::uint32_t> references_{1};
};

/// The part of an instance that does not depend on its class.
class guest {
public:
  explicit guest(const troupe_module_host& host)
      : executor_(host), broker_(options_on(executor_)), end_(*this) {}
  guest(const guest&) = delete;
  guest& operator=(const guest&) = delete;

  guest_executor& where() noexcept { return executor_; }
  troupe::broker& workers() noexcept { return broker_; }

  /// The worker of another place that stands for a caller; empty: nobody is named.
  intrusive_ptr<cell> caller_for(std::string_view stamp);

  void add(guest_call& c) noexcept {
    const spin_guard guard(lock_);
    calls_.push_back(c);
  }
  void remove(guest_call& c) noexcept {
    const spin_guard guard(lock_);
    calls_.remove(c);
  }

  void stop(std::uint64_t id) noexcept;
  void close(void (*ended)(void*), void* context) noexcept;

private:
  /// The last root: all calls are asked to stop, and the broker comes to its end.
  class end_of_all final : public completion, public runnable {
  public:
    explicit end_of_all(guest& g)
        : completion(&end_of_all::on_done),
          runnable(&end_of_all::finish),
          guest_(g),
          link_(g.executor_),
          task_(end_everything(g).release()) {}

    void begin() noexcept {
      frame& root = task_.promise();
      task_.promise().result = &result_;
      root.where = &guest_.executor_;
      root.chain = &link_;
      root.then = this;
      guest_.executor_.run(root);
    }

  private:
    static void on_done(completion& c) noexcept { run_next(static_cast<end_of_all&>(c)); }
    static void finish(runnable& r) noexcept {
      static_cast<end_of_all&>(r).guest_.executor_.end_use();
    }

    guest& guest_;
    root_link link_;
    result_slot<void> result_;
    started_task<void> task_;  // destroyed before the slot it writes to
  };

  /// No thread watches its turns: in a sandbox there can be none.
  static broker_options options_on(guest_executor& e) {
    broker_options options;
    options.on = &e;
    options.drain_limit = std::chrono::seconds(1);
    options.slow_turn = endless;
    options.stall_limit = endless;
    return options;
  }
  static task<> end_everything(guest& g);
  void stop_all() noexcept;

  guest_executor executor_;
  spin_lock lock_;  // guards the next two
  intrusive_list<guest_call> calls_;
  std::map<std::string, char, std::less<>> caller_types_;  // their names, for good
  troupe::broker broker_;
  end_of_all end_;
};

inline guest_call::guest_call(guest& g, troupe_module_call& c)
    : guest_(g), call_(&c), id_(c.id), link_(g.where()) {
  caller_ = g.caller_for(as_text(c.caller));
  link_.outside = caller_.get();
  link_.make_stoppable();
  link_.limited = true;
  link_.limit_deadline(from_nanoseconds(c.deadline));
}

inline void guest_call::begin(frame& root) noexcept {
  guest_.where().begin_use();
  guest_.add(*this);
  root.where = &guest_.where();
  root.chain = &link_;
  root.then = &done_;
  guest_.where().run(root);
}

inline void guest_call::end() noexcept {
  guest_.remove(*this);
  settle_ended();
  release(this);
}

inline void guest_call::destroy() noexcept {
  guest_executor& where = guest_.where();
  delete this;
  where.end_use();
}

inline void guest_call::ask_to_stop() noexcept {
  if (stopping_.exchange(true, order::relaxed)) return;
  add_ref(this);
  guest_.where().post(stopper_);
}

inline intrusive_ptr<cell> guest::caller_for(std::string_view stamp) {
  if (stamp.empty()) return {};
  struct elsewhere {};
  const auto [type, key] = parts_of_stamp(stamp);
  const std::pair<const std::string, char>* known = nullptr;
  {
    const spin_guard guard(lock_);
    auto found = caller_types_.find(type);
    if (found == caller_types_.end()) found = caller_types_.emplace(std::string(type), 0).first;
    known = &*found;
  }
  const class_request request{known->first, &known->second, &default_maker<elsewhere>};
  return broker_access::core_of(broker_).cell_for(request, key);
}

inline void guest::stop(std::uint64_t id) noexcept {
  intrusive_ptr<guest_call> found;
  {
    const spin_guard guard(lock_);
    for (guest_call& c : calls_) {
      if (c.id() == id) found = intrusive_ptr<guest_call>(&c);
    }
  }
  if (found) found->ask_to_stop();
}

inline void guest::stop_all() noexcept {
  const spin_guard guard(lock_);
  for (guest_call& c : calls_) c.ask_to_stop();
}

inline void guest::close(void (*ended)(void*), void* context) noexcept {
  executor_.tell_of_end(ended, context);
  stop_all();
  end_.begin();
}

inline task<> guest::end_everything(guest& g) {
  task<> end = broker_access::take_end(g.broker_);
  co_await std::move(end);
}

}  // namespace troupe::detail
