// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What the models of workers share: an executor that virtual threads serve, an owner of cells, a
/// worker's class, messages that check how they are run.

#include <model/checker/checker.hpp>

#include <coroutine>
#include <cstdint>
#include <exception>
#include <string_view>
#include <system_error>
#include <utility>

#include <troupe/actor/actor_class.hpp>
#include <troupe/actor/cell.hpp>
#include <troupe/actor/cell_mailbox.hpp>
#include <troupe/actor/cell_supervision.hpp>
#include <troupe/actor/maker_of.hpp>
#include <troupe/actor/message.hpp>
#include <troupe/actor/proxy.hpp>
#include <troupe/broker/registry.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/when_all.hpp>

namespace troupe::model {

/// What is posted waits on a stack of its own until a virtual thread serves it. The stack orders
/// what was done before a post with what is run for it, and nothing else.
class served_executor final : public executor {
public:
  void post(runnable& r) noexcept override {
    runnable* newest = newest_.load(detail::order::relaxed);
    do {
      r.next = newest;
    } while (!newest_.compare_exchange_strong(newest, &r, detail::order::release,
                                              detail::order::relaxed));
  }
  time_point now() const noexcept override { return now_; }
  std::uint64_t random() noexcept override { return ++random_; }
  void wake_at(time_point) noexcept override {}

  /// Brings the time forward and fires what is due.
  void pass(duration d) noexcept {
    now_ += d;
    fire_timers();
  }

  /// Runs all that is there, and what that makes ready. False if there was nothing.
  bool serve_once() noexcept {
    if (newest_.load(detail::order::relaxed) == nullptr) return false;  // no write while it spins
    runnable* newest = newest_.exchange(nullptr, detail::order::acquire);
    runnable* oldest = nullptr;
    while (newest != nullptr) {
      runnable* const older = newest->next;
      newest->next = oldest;
      oldest = newest;
      newest = older;
    }
    if (oldest == nullptr) return false;
    while (oldest != nullptr) {
      runnable* const r = oldest;
      oldest = r->next;
      run_here(*r);
    }
    return true;
  }

  /// Serves as long as one of the threads that post has not said that it is done.
  void serve(const detail::atomic<int>& posters) noexcept {
    for (;;) {
      const bool last = posters.load(detail::order::acquire) == 0;
      const bool ran = serve_once();
      if (ran) continue;
      if (last) return;
      detail::cpu_relax();
    }
  }

private:
  detail::atomic<runnable*> newest_{nullptr};
  time_point now_{};
  std::uint64_t random_ = 0;
};

/// Happens once; one coroutine may wait for it.
class event {
public:
  event() = default;
  event(const event&) = delete;
  event& operator=(const event&) = delete;

  /// From any thread, once.
  void set() noexcept {
    detail::frame* const waiting = state_.exchange(happened(), detail::order::acq_rel);
    if (waiting != nullptr) waiting->where->post(*waiting);
  }

  class awaiter {
  public:
    awaiter(event& e, detail::frame& f) noexcept : event_(e), frame_(f) {}
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<>) noexcept { return event_.wait(frame_); }
    void await_resume() const noexcept {}

  private:
    event& event_;
    detail::frame& frame_;
  };

  class operation {
  public:
    explicit operation(event& e) noexcept : event_(e) {}
    awaiter await_by(detail::frame& f) && noexcept { return awaiter(event_, f); }

  private:
    event& event_;
  };

  operation occurred() noexcept { return operation(*this); }

private:
  /// True if the coroutine is suspended until `set`.
  bool wait(detail::frame& f) noexcept {
    bool* const flag = std::exchange(f.completed_inline, nullptr);
    detail::frame* before = nullptr;
    if (state_.compare_exchange_strong(before, &f, detail::order::acq_rel,
                                       detail::order::acquire)) {
      return true;
    }
    f.completed_inline = flag;
    return false;
  }
  static detail::frame* happened() noexcept {
    static detail::frame mark;
    return &mark;
  }

  detail::atomic<detail::frame*> state_{nullptr};  // nullptr: not yet, nobody waits
};

/// A coroutine that nobody awaits, on an executor that others serve.
template <class T>
class root final : private detail::completion {
public:
  /// `posters` is counted down when it has ended.
  root(served_executor& on, task<T> t, detail::atomic<int>& posters) noexcept
      : completion(&root::set), task_(t.release()), link_(on), posters_(posters) {
    link_.make_stoppable();
    link_.limited = true;
    detail::task_promise<T>& promise = task_.promise();
    promise.result = &result_;
    promise.where = &on;
    promise.chain = &link_;
    promise.then = this;
  }

  void start() noexcept { task_.promise().where->post(task_.promise()); }
  void request_stop() noexcept { link_.request_stop(); }
  T result() { return result_.take(); }
  bool ended() const noexcept { return ended_; }

private:
  static void set(completion& c) noexcept {
    root& self = static_cast<root&>(c);
    check(!self.ended_, "ended twice");
    self.ended_ = true;
    self.posters_.fetch_sub(1, detail::order::release);
  }

  detail::result_slot<T> result_;
  detail::started_task<T> task_;
  detail::root_link link_;
  detail::atomic<int>& posters_;
  bool ended_ = false;
};

/// What a worker answers: who reads it has to come after who wrote it.
class reply {
public:
  explicit reply(int number) noexcept : number_(number) {}
  reply(reply&& other) noexcept : number_(other.get()) {}

  int get() const noexcept { return number_.get(); }

private:
  var<int> number_;
};

/// A worker: counts its calls in a plain variable, and its instances.
struct counter {
  counter() {
    check(alive == 0, "two instances of one worker");
    ++alive;
    ++made;
  }
  counter(const counter&) = delete;
  counter& operator=(const counter&) = delete;
  ~counter() {
    calls.set(-1);
    --alive;
    if (ends != nullptr) ends->set(ends->get() + 1);
  }

  reply add() {
    calls.set(calls.get() + 1);
    return reply(calls.get());
  }

  /// The same, and waits for an event in between.
  task<reply> add_after() {
    const int before = calls.get();
    calls.set(before + 1);
    co_await awaited->occurred();
    check(calls.get() == before + 1, "somebody else had a turn meanwhile");
    co_return reply(before + 1);
  }

  /// The same, with two coroutines that wait beside each other.
  task<reply> add_after_both() {
    const int before = calls.get();
    co_await when_all(after(*awaited), after(*awaited_too));
    check(calls.get() == before + 2, "somebody else had a turn meanwhile");
    co_return reply(before + 2);
  }
  task<> after(event& e) {
    co_await e.occurred();
    calls.set(calls.get() + 1);
  }

  var<int> calls{0};
  static inline event* awaited = nullptr;
  static inline event* awaited_too = nullptr;
  static inline var<int>* ends = nullptr;  // counts their ends, where a model wants that
  static inline int alive = 0;
  static inline int made = 0;
};

/// In place of a broker.
class owner_of_cells final : public detail::cell_owner {
public:
  owner_of_cells() : counters("counter", detail::tag_of<counter>()) {
    keep_static(&detail::running_calls::instance(), sizeof(detail::running_calls));
    keep_static(&counter::alive, sizeof counter::alive);
    keep_static(&counter::made, sizeof counter::made);
    keep_static(&counter::ends, sizeof counter::ends);
    counters.current.store(&detail::default_maker<counter>(), detail::order::release);
  }

  executor& where() noexcept override { return on; }
  void add_ref_owner() noexcept override {}
  void release_owner() noexcept override { ++cells_deleted; }
  void retire(detail::cell& c) noexcept override { registry.retire(c); }
  bool closed() const noexcept override { return closed_.load(detail::order::acquire); }
  void created(detail::cell&) noexcept override { ++instances; }
  void destroyed(detail::cell&) noexcept override { --instances; }
  void used(detail::cell&) noexcept override {}
  // No model abandons a worker, observes one or supervises one.
  intrusive_ptr<detail::cell> successor(const detail::cell&) const noexcept override { return {}; }
  void abandoned_ended() noexcept override {}
  void before_call(detail::cell&, const call_info&, std::size_t&) override {}
  void after_call(detail::cell&, const call_info&, std::size_t) noexcept override {}
  void settled(detail::cell&, const call_info&) noexcept override {}
  void told(std::uint64_t) noexcept override {}
  void timer_ran() noexcept override {}
  void waited(duration) noexcept override {}
  void restarted(detail::cell&) noexcept override {}
  void evicted(detail::cell&) noexcept override {}
  directive escalated(const worker_failure&) noexcept override { return directive::stop; }
  void dead(detail::cell&, std::string_view, const std::error_code&, std::exception_ptr,
            detail::cell*) noexcept override {
    ++dead_letters;
  }
  intrusive_ptr<detail::cell> cell_for(const detail::class_request&,
                                       std::string_view key) override {
    return cell_of(key);
  }

  intrusive_ptr<detail::cell> cell_of(std::string_view key) {
    return registry.find_or_make(*this, counters, key);
  }
  void close() noexcept { closed_.store(true, detail::order::release); }

  served_executor on;
  detail::actor_class counters;
  detail::registry<> registry;
  int instances = 0;
  int cells_deleted = 0;
  int dead_letters = 0;

private:
  detail::atomic<bool> closed_{false};
};

/// A message in somebody's memory: run once, or refused once.
class probe final : public detail::message {
public:
  explicit probe(detail::message_kind k = detail::message_kind::tell, bool plain = true) noexcept
      : message(k) {
    runs_plain = plain;
  }

  detail::turn_state start(detail::cell& c, detail::turn*) noexcept override {
    run_plain(c);
    return detail::turn_state::ended;
  }
  void run_plain(detail::cell& c) noexcept override {
    check(payload.get() == 1, "half a message");
    check(must_follow == nullptr || must_follow->settled(), "out of order");
    check(!settled(), "settled twice");
    auto& target = *static_cast<counter*>(c.instance());
    c.count_turn();
    number = target.add().get();
    ran = true;
  }
  void refuse(const detail::refusal&) noexcept override {
    check(payload.get() == 1, "half a message");
    check(!settled(), "settled twice");
    refused = true;
  }
  const std::string_view& method_name() const noexcept override {
    static constexpr std::string_view name = "probe";
    return name;
  }

  bool settled() const noexcept { return ran || refused || taken; }

  var<int> payload{0};
  const probe* must_follow = nullptr;
  int number = 0;
  bool ran = false;
  bool refused = false;
  bool taken = false;  // out of the mailbox, by whoever did so
};

/// A worker under test, served by as many virtual threads as the model starts.
struct worker_world {
  explicit worker_world(int threads_that_post) : posters(threads_that_post) {}

  detail::cell& target() noexcept { return *worker; }

  /// A message to an instance that is there, or is made for it.
  void tell(probe& p) {
    p.payload.set(1);
    std::uintptr_t seen = worker->word();
    if (!worker->push(p, seen)) static_cast<void>(worker->deliver(p));
  }
  /// The fast path of a call; false: the worker is busy or has no instance.
  bool call_fast() {
    if (!worker->enter_fast()) return false;
    worker->count_turn();
    static_cast<void>(static_cast<counter*>(worker->instance())->add());
    worker->leave_fast();
    return true;
  }
  /// The calling thread posts nothing any more.
  template <auto M>
  auto call() {
    return detail::make_call<M, counter>(detail::borrowed_cell(worker.get()));
  }
  void done() { posters.fetch_sub(1, detail::order::release); }
  void serve() { owner.on.serve(posters); }

  /// An instance, as one message made it.
  void warm_up() {
    tell(first);
    while (owner.on.serve_once()) {
    }
    check(first.ran, "the first message did not run");
  }
  /// What is left, on the main thread.
  void drain() {
    while (owner.on.serve_once()) {
    }
    check(worker->word() <= detail::word_idle_slow || worker->word() == detail::word_dormant ||
              worker->word() == detail::word_gone,
          "the worker is held by nobody");
    check(worker->waiting() == 0, "messages are counted that do not wait");
    check(owner.instances == counter::alive, "instances are not counted");
  }
  /// Ends the instance, if there is one: nothing of the worker is left.
  void end() {
    drain();
    static_cast<void>(worker->evict());
    drain();
    check(counter::alive == 0, "an instance is left");
    worker.reset();
    check(owner.cells_deleted == 1, "a reference is left");
  }

  owner_of_cells owner;
  intrusive_ptr<detail::cell> worker = owner.cell_of("k");
  detail::atomic<int> posters;
  probe first;
};

}  // namespace troupe::model
