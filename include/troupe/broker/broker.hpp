// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `broker`: creates workers on first use, finds them, closes them.
///
/// Layer: broker.

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <troupe/actor/load.hpp>
#include <troupe/actor/maker_by_key.hpp>
#include <troupe/actor/maker_of.hpp>
#include <troupe/actor/options.hpp>
#include <troupe/actor/proxy.hpp>
#include <troupe/actor/recipe.hpp>
#include <troupe/base/put_off.hpp>
#include <troupe/base/worker_id.hpp>
#include <troupe/broker/broker_stats.hpp>
#include <troupe/broker/call_traces.hpp>
#include <troupe/broker/cleaner.hpp>
#include <troupe/broker/core.hpp>
#include <troupe/broker/drain.hpp>
#include <troupe/broker/observer.hpp>
#include <troupe/broker/observers.hpp>
#include <troupe/broker/signals.hpp>
#include <troupe/broker/turn_watch.hpp>
#include <troupe/broker/waits.hpp>
#include <troupe/broker/worker_event.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/join_point.hpp>
#include <troupe/coro/paused_threads.hpp>
#include <troupe/coro/simulation.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/task_scope.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/coro/when_any.hpp>
#include <troupe/exec/thread_pool.hpp>

namespace troupe {

namespace detail {
struct broker_access;
}

/// How a broker is made.
struct broker_options {
  unsigned threads = 0;       ///< Of its own pool; 0: one per core.
  executor* on = nullptr;     ///< An executor that outlives it, instead of a pool of its own.
  troupe::cleaner cleaner{};  ///< Told of all workers; decides which of them go.
  supervision supervise{};    ///< Of workers whose class has none of its own.
  /// Decides after failures that a worker does not settle by itself. From any thread, in the
  /// worker's turn: short, and does not wait.
  std::function<directive(const worker_failure&)> on_escalation{};
  duration drain_limit = std::chrono::seconds(10);  ///< For all that closes workers.
  /// A method that runs for longer without a pause is reported, once: to the observer's
  /// `on_slow_turn`, or, where there is no observer, on stderr. `endless`: never. What is suspended
  /// keeps no thread, and is not slow. Methods of `own_thread` workers may take their time.
  duration slow_turn = std::chrono::seconds(1);
  /// One that runs for longer than this is stuck: a pool starts another thread in the place of the
  /// one it holds, and calls with a time limit that run or wait at its worker settle
  /// `errc::worker_stalled`. `endless`: never.
  duration stall_limit = std::chrono::seconds(10);
  std::function<void(const dead_letter&)>
      on_dead_letter{};         ///< From any thread, maybe many at once.
  observer* observe = nullptr;  ///< Sees every call; outlives the broker. Several: `observers`.
  bool measure_waits = false;   ///< Fills `broker_stats::waits`, at two clock reads per message.
};

/// Owns workers and, unless told otherwise, the threads that run them.
///
/// The destructor asks what was spawned to stop, drains all workers and waits for them; it runs on
/// a thread that may block.
///
/// Thread safety: all members but the destructor from any thread.
template <class Lazy>
class basic_broker {
public:
  explicit basic_broker(broker_options options = {});
  basic_broker(const basic_broker&) = delete;
  basic_broker& operator=(const basic_broker&) = delete;
  ~basic_broker();

  /// A proxy to the worker of class `A` with this key. Creates nothing yet.
  template <class A>
  [[nodiscard]] proxy<A> worker(std::string_view key = {}) {
    return proxy<A>(core_->cell_for(detail::request_for<A>(), key));
  }

  /// The worker of class `A` that runs at another place, as that gives it: a module's library
  /// (function/library.hpp), for one.
  template <class A, class Place>
    requires requires(const Place& p, broker& b, std::string_view k) {
      p.template worker_at<A>(b, k);
    }
  [[nodiscard]] auto worker(const Place& place, std::string_view key = {}) {
    return place.template worker_at<A>(static_cast<broker&>(*this), key);
  }

  /// One method of a worker, as a callable. `A` is the method's class unless it is inherited.
  template <auto M, class A = typename detail::signature_of<M>::class_type>
  [[nodiscard]] auto function(std::string_view key = {}) {
    return function_proxy<M, A>(core_->cell_for(detail::request_for<A>(), key));
  }

  /// From now on instances of `A` are made by `factory(context&)`, which returns an `A`, a class
  /// derived from it, or a `std::unique_ptr` to either; the hooks and options of what it returns
  /// count, or the options given here. Instances that are there stay.
  ///
  /// Like all that is provided, it is called by any thread, maybe by many at once, and kept until
  /// the broker and its proxies are gone. What it throws is a `start_failed`.
  template <class A>
  void provide(recipe<A> factory) {
    core_->provide(detail::request_for<A>(), factory.how());
  }
  template <class A, class F>
  void provide(F factory, const actor_options& options) {
    provide<A>(recipe<A>(std::move(factory), options));
  }

  /// The same for one key, which goes before what is provided for all.
  template <class A>
  void provide(std::string_view key, recipe<A> factory) {
    core_->provide(detail::request_for<A>(), key, factory.how());
  }

  /// From now on `choose(std::string_view key)` says, by a `recipe<A>`, how an instance is made:
  /// its class, hooks, options and placement. Asked once for each, when it is made; until then the
  /// options of `A` itself count. Recipes are best made beforehand: each is kept.
  template <class A, class F>
  void provide_by_key(F choose) {
    static_assert(
        std::is_invocable_r_v<recipe<A>, const F&, std::string_view>,
        "troupe: who chooses by key is called with a std::string_view, as a const object, "
        "and returns a troupe::recipe of the class");
    core_->provide(detail::request_for<A>(),
                   std::make_shared<detail::chosen_maker<A, F>>(std::move(choose)));
  }

  /// From now on the workers of these classes that have the same key are one worker: one mailbox,
  /// one turn at a time, one life. Its instance holds an object of each class, made in this order,
  /// each as is provided for its class, and destroyed in the reverse; `on_start` and `on_stop` run
  /// likewise, and hooks around calls are those of the class that is called. The options are those
  /// of `A`, or these. Ids of such workers name all classes: `cart+stock("alice")`.
  ///
  /// Comes before the first proxy of these classes; throws `std::logic_error` where it does not, or
  /// where one of them shares its turn already.
  template <class A, class B, class... More>
  void share_turn(const actor_options& options = detail::options_of<A>()) {
    static_assert(detail::all_distinct<A, B, More...>,
                  "troupe: each class shares its turn with others, and is named once");
    core_->share_turn(
        {detail::request_for<A>(), detail::request_for<B>(), detail::request_for<More>()...},
        options);
  }

  /// From now on what asks for the worker of class `A` with some key means the one with the key
  /// `map(std::string_view)` instead. Called by any thread, maybe by many at once; best such that
  /// it maps what it has mapped to itself, since `context::key()` is a mapped key.
  template <class A, class F>
  void map_keys(F map) {
    core_->map_keys(detail::request_for<A>(), std::move(map));
  }

  /// Creates the worker now, without a call.
  template <class A>
  task<> load(std::string_view key = {}) {
    return load_cell(core_->cell_for(detail::request_for<A>(), key));
  }

  /// Runs what is queued for the worker, then destroys it; later calls make a new instance. False
  /// if there was none. A stop request ends the wait for that, with `errc::cancelled`.
  ///
  /// Like all that closes a worker: what has not started after `drain_limit` settles
  /// `errc::worker_stopped`, and what runs is asked to stop. Who would wait for its own end, in one
  /// of the worker's methods or tasks, or below one, gets `errc::deadlock`. The worker is closed
  /// all the same, also where nobody waits any more.
  template <class A>
  task<bool> remove(std::string_view key = {}) {
    return close_cell(core_, core_->find(detail::request_for<A>(), key), &detail::cell::close,
                      drain_limit_);
  }

  /// Destroys the instance as soon as the running turn has ended. What is queued, and all later
  /// calls, go to the next one, which the first of them creates. Proxies stay as they are.
  template <class A>
  task<> reload(std::string_view key = {}) {
    core_->class_of_workers(detail::request_for<A>()).version.fetch_add(1, detail::order::release);
    return reload_cells(core_, one_cell(core_->find(detail::request_for<A>(), key)), drain_limit_);
  }

  /// The same for all workers of the class.
  template <class A>
  task<> reload_all() {
    detail::actor_class& a = core_->class_of_workers(detail::request_for<A>());
    a.version.fetch_add(1, detail::order::release);
    cells all = core_->cells();
    std::erase_if(all, [&a](const cell_ptr& c) { return &c->type() != &a; });
    return reload_cells(core_, std::move(all), drain_limit_);
  }

  /// Closes the worker now if it is idle, else when its mailbox next runs dry. False if it is
  /// unknown, newborn or kept alive. Never waits.
  bool evict(const worker_id& id);

  /// True if the worker has an instance.
  template <class A>
  [[nodiscard]] bool exists(std::string_view key = {}) const {
    const auto c = core_->find(detail::request_for<A>(), key);
    return c && c->alive();
  }

  /// Closes all workers that exist now, each after what is queued for it; as `remove` does. The
  /// broker stays usable. A stop request is as if the limit had been reached, and ends the wait
  /// with `errc::cancelled`.
  task<> terminate();

  /// Runs `t` to its end on this thread, which blocks; gives its result.
  template <class T>
  T run(task<T> t) {
    return detail::block_on(std::move(t), &core_->where());
  }

  /// The same; SIGINT and SIGTERM ask `t` to stop. Afterwards all workers are drained.
  template <class T>
  T run_until_signal(task<T> t) {
    return run(drained(stoppable_by_signal(std::move(t))));
  }

  /// Runs `t` beside everything else; it is asked to stop, and awaited, when the broker goes. What
  /// it throws is a dead letter.
  void spawn(task<> t) { core_->spawned().spawn(std::move(t)); }

  /// How many workers have an instance.
  [[nodiscard]] std::size_t worker_count() const { return core_->worker_count(); }
  /// All workers that have one.
  [[nodiscard]] std::vector<worker_info> workers() const;
  /// One of them; nothing if it has no instance.
  [[nodiscard]] std::optional<worker_info> find(const worker_id& id) const;
  /// Who runs its workers.
  [[nodiscard]] executor& runs_on() const noexcept { return core_->where(); }
  /// Figures; of some moment gone by where work is under way. Looks at every worker.
  [[nodiscard]] broker_stats stats() const { return core_->stats(); }
  /// Who is there, who is busy, what runs, and each chain of calls under way down to what it waits
  /// for, as text. For one moment: the threads pause between their steps, all of the process, for
  /// 100 ms at most. Of a method that does not come to its end in that time only its name is told,
  /// and, where `slow_turn` or `stall_limit` has it watched, for how long it has been running.
  [[nodiscard]] std::string dump() const;

private:
  friend detail::broker_access;

  using cell_ptr = intrusive_ptr<detail::put_off<detail::cell, Lazy>>;
  using cells = std::vector<cell_ptr>;

  static task<> load_cell(cell_ptr c) {
    detail::load_operation load(c);
    co_await std::move(load);
  }
  using way_to_close = void (detail::cell::*)(detail::close_mark&) noexcept;

  static cells one_cell(cell_ptr c) {
    cells one;
    if (c) one.push_back(std::move(c));
    return one;
  }
  static task<bool> close_cell(intrusive_ptr<detail::broker_core<Lazy>> core, cell_ptr c,
                               way_to_close how, duration limit);
  static task<> reload_one(intrusive_ptr<detail::broker_core<Lazy>> core, cell_ptr c,
                           duration limit) {
    static_cast<void>(
        co_await close_cell(std::move(core), std::move(c), &detail::cell::reload, limit));
  }
  static task<> reload_cells(intrusive_ptr<detail::broker_core<Lazy>> core, cells all,
                             duration limit);
  static task<> close_one(detail::drain<Lazy>& closing, const detail::closing_worker& w,
                          bool heeds_stop);
  static task<> begin_to_close(detail::drain<Lazy>& closing, task_scope& waits, bool heeds_stop);
  static task<> see_to_limit(intrusive_ptr<detail::drain<Lazy>> closing, duration limit);
  static task<> report_if_slow(intrusive_ptr<detail::broker_core<Lazy>> core, duration limit);
  static std::string dump_of(detail::broker_core<Lazy>& core);
  static task<> close_all(intrusive_ptr<detail::broker_core<Lazy>> core, duration limit,
                          bool heeds_stop);
  static task<> shut_down(intrusive_ptr<detail::broker_core<Lazy>> core, duration limit);

  /// While it stands, the turns are watched; not those of a simulation, which take no time.
  class watch {
  public:
    explicit watch(detail::broker_core<Lazy>& core) : core_(core) {
      watches_ = core.wants_watch() && core.where().simulated() == nullptr;
      if (watches_) detail::turn_watch<Lazy>::add(core);
    }
    watch(const watch&) = delete;
    watch& operator=(const watch&) = delete;
    ~watch() {
      if (watches_) detail::turn_watch<Lazy>::remove(core_);
    }

  private:
    detail::broker_core<Lazy>& core_;
    bool watches_ = false;
  };

  /// Tells a simulation that has come to a deadlock who waits.
  class dumper final : public detail::witness {
  public:
    explicit dumper(const basic_broker& b) noexcept
        : broker_(b), simulation_(b.core_->where().simulated()) {
      if (simulation_ != nullptr) simulation_->add_witness(*this);
    }
    dumper(const dumper&) = delete;
    dumper& operator=(const dumper&) = delete;
    ~dumper() {
      if (simulation_ != nullptr) simulation_->remove_witness(*this);
    }
    void testify(std::string& text) const override { text += broker_.dump(); }

  private:
    const basic_broker& broker_;
    detail::simulation* const simulation_;
  };

  template <class T>
  static task<T> stoppable_by_signal(task<T> t);
  template <class T>
  task<T> drained(task<T> t);

  intrusive_ptr<detail::broker_core<Lazy>> core_;
  duration drain_limit_;
  task<> end_;  // made with the broker: the destructor must not lack memory
  std::optional<watch> watch_;
  std::optional<dumper> dumper_;
};

template <class Lazy>
inline basic_broker<Lazy>::basic_broker(broker_options options)
    : drain_limit_(options.drain_limit) {
  std::unique_ptr<basic_thread_pool<Lazy>> own;
  if (options.on == nullptr) {
    own =
        std::make_unique<basic_thread_pool<Lazy>>(thread_pool_options{.threads = options.threads});
    options.on = own.get();
  }
  core_ = intrusive_ptr<detail::broker_core<Lazy>>(new detail::broker_core<Lazy>(
      std::move(own), *options.on, std::move(options.on_dead_letter), std::move(options.cleaner),
      options.observe, options.slow_turn, options.stall_limit));
  core_->supervise_by(options.supervise, std::move(options.on_escalation));
  core_->events().open(static_cast<broker&>(*this));
  core_->measures_waits = options.measure_waits;
  if (core_->where().simulated() != nullptr) core_->virtual_clock = &core_->where();
  end_ = shut_down(core_, drain_limit_);
  watch_.emplace(*core_);
  dumper_.emplace(*this);
}

template <class Lazy>
inline basic_broker<Lazy>::~basic_broker() {
  TROUPE_ASSERT(
      detail::this_thread_state().loop == nullptr || detail::this_thread_state().may_block,
      "a broker is destroyed on a thread that may block, not by what it runs");
  if (end_) detail::block_on(std::move(end_), &core_->where());
  dumper_.reset();
  watch_.reset();
  core_->drop_observers();
  core_->drop_executor();
}

template <class Lazy>
inline bool basic_broker<Lazy>::evict(const worker_id& id) {
  const cell_ptr c = core_->find(id);
  return c && c->evict();
}

/// Where it is not closed at once, somebody sees to it that this does not take longer than `limit`.
template <class Lazy>
inline task<bool> basic_broker<Lazy>::close_cell(intrusive_ptr<detail::broker_core<Lazy>> core,
                                                 cell_ptr c, way_to_close how, duration limit) {
  if (!c || (!c->alive() && !c->busy())) co_return false;
  const intrusive_ptr<detail::close_mark> mark(new detail::close_mark);
  add_ref(mark.get());  // the mailbox's
  (c.get()->*how)(*mark);
  intrusive_ptr<detail::drain<Lazy>> closing;
  if (!mark->settled()) {
    closing = intrusive_ptr<detail::drain<Lazy>>(new detail::drain<Lazy>(c, mark));
    core->closings().spawn(see_to_limit(closing, limit));
  }
  detail::close_mark::wait wait(mark, c, true);
  const bool was_closed = co_await std::move(wait);
  if (closing) closing->over.release();
  co_return was_closed;
}

/// All at the same time. An error comes out once all are reloaded.
template <class Lazy>
inline task<> basic_broker<Lazy>::reload_cells(intrusive_ptr<detail::broker_core<Lazy>> core,
                                               cells all, duration limit) {
  std::vector<detail::put_off<task<>, Lazy>> reloads;
  reloads.reserve(all.size());
  for (cell_ptr& c : all) reloads.push_back(reload_one(core, std::move(c), limit));
  co_await when_all(std::move(reloads));
}

/// Fails in no case, so that the others are waited for.
template <class Lazy>
inline task<> basic_broker<Lazy>::close_one(detail::drain<Lazy>& closing,
                                            const detail::closing_worker& w, bool heeds_stop) {
  add_ref(w.mark.get());  // the mailbox's
  w.worker->close(*w.mark);
  try {
    detail::close_mark::wait wait(w.mark, w.worker, heeds_stop);
    static_cast<void>(co_await std::move(wait));
  } catch (const error& e) {
    closing.note_failure(std::current_exception(), e.code() == errc::cancelled);
  } catch (...) {
    closing.note_failure(std::current_exception(), false);
  }
}

template <class Lazy>
inline task<> basic_broker<Lazy>::begin_to_close(detail::drain<Lazy>& closing, task_scope& waits,
                                                 bool heeds_stop) {
  for (const detail::closing_worker& w : closing.all()) {
    waits.spawn(close_one(closing, w, heeds_stop));
  }
  co_return;
}

/// Runs beside those who wait, so that the limit holds also where they have given up; asked to stop
/// when the broker's workers are gone.
template <class Lazy>
inline task<> basic_broker<Lazy>::see_to_limit(intrusive_ptr<detail::drain<Lazy>> closing,
                                               duration limit) {
  const auto first = co_await as_result(when_any(sleep_for(limit), closing->over.acquire()));
  const bool is_late = first.has_value() && first.value().index() == 0;
  if (is_late) closing->hurry();
}

template <class Lazy>
inline task<> basic_broker<Lazy>::close_all(intrusive_ptr<detail::broker_core<Lazy>> core,
                                            duration limit, bool heeds_stop) {
  cells all = core->cells();
  std::erase_if(all, [](const cell_ptr& c) { return !c->alive() && !c->busy(); });
  if (all.empty()) co_return;
  const intrusive_ptr<detail::drain<Lazy>> closing(new detail::drain<Lazy>(std::move(all)));
  task_scope waits;
  // Made before anything runs that would have to be awaited: later there may be no memory for it.
  task<result<void>> begin = as_result(begin_to_close(*closing, waits, heeds_stop));
  task<result<void>> join = as_result(waits.join());
  core->closings().spawn(see_to_limit(closing, limit));
  const result<void> begun = co_await std::move(begin);
  const result<void> ended = co_await std::move(join);
  const bool stopped = closing->stopped();
  if (stopped) closing->hurry();
  if (stopped || !begun.has_value() || closing->done()) closing->over.release();
  begun.value();
  ended.value();
  closing->throw_failure();
}

template <class Lazy>
inline task<> basic_broker<Lazy>::terminate() {
  const intrusive_ptr<detail::broker_core<Lazy>> core = core_;
  co_await close_all(core, drain_limit_, true);
  if (core->events()) core->events().send(worker_event::terminate, worker_id(), worker_stats());
}

/// Says who keeps the destructor waiting, a second after all were asked to come to an end.
template <class Lazy>
inline task<> basic_broker<Lazy>::report_if_slow(intrusive_ptr<detail::broker_core<Lazy>> core,
                                                 duration limit) {
  const result<void> drained = co_await as_result(sleep_for(limit));
  if (!drained.has_value()) co_return;
  const result<void> waited = co_await as_result(sleep_for(std::chrono::seconds(1)));
  if (!waited.has_value()) co_return;
  const std::string text = dump_of(*core);
  std::fprintf(stderr, "troupe: a broker waits for its workers to end\n%s", text.c_str());
  std::fflush(stderr);
}

/// What the destructor waits for. Workers may still be created by what drains; then no more.
template <class Lazy>
inline task<> basic_broker<Lazy>::shut_down(intrusive_ptr<detail::broker_core<Lazy>> core,
                                            duration limit) {
  task_scope watching;
  task<result<void>> join_watching;
  try {
    join_watching = as_result(watching.join());
    watching.spawn(report_if_slow(core, limit));
  } catch (...) {
    // No memory: nobody is told.
  }
  core->spawned().request_stop();
  auto joined = core->spawned().all_ended();
  co_await std::move(joined);
  for (bool gone = false; !gone; gone = core->settle_gone() && core->abandoned().open() == 0) {
    try {
      co_await close_all(core, limit, false);
    } catch (...) {
      // No memory: what could not be closed is closed the next time.
    }
    while (core->abandoned().open() != 0) {
      static_cast<void>(co_await as_result(sleep_for(std::chrono::milliseconds(1))));
    }
    core->close();
    co_await yield();
  }
  auto late = core->spawned().all_ended();  // spawned by what drained
  co_await std::move(late);
  while (const std::unique_ptr<detail::broker_attachment> attached = core->take_attachment()) {
    task<> end = attached->end();
    co_await std::move(end);
  }
  while (!core->events().idle()) co_await yield();
  core->closings().request_stop();
  auto seen_to = core->closings().all_ended();
  co_await std::move(seen_to);
  watching.request_stop();
  if (!join_watching) co_return;
  const result<void> watched = co_await std::move(join_watching);
}

template <class Lazy>
inline std::vector<worker_info> basic_broker<Lazy>::workers() const {
  std::vector<detail::put_off<worker_info, Lazy>> infos;
  for (const cell_ptr& c : core_->cells()) {
    if (c->alive()) infos.emplace_back(c->id(), c->stats());
  }
  return infos;
}

template <class Lazy>
inline std::optional<worker_info> basic_broker<Lazy>::find(const worker_id& id) const {
  const cell_ptr c = core_->find(id);
  if (!c || !c->alive()) return std::nullopt;
  return worker_info(id, c->stats());
}

template <class Lazy>
inline std::string basic_broker<Lazy>::dump_of(detail::broker_core<Lazy>& core) {
  const detail::paused_threads pause(core.where());
  cells all = core.cells();
  for (cell_ptr& c : core.abandoned().all()) all.push_back(std::move(c));
  std::string text;
  std::size_t count = 0;
  for (const cell_ptr& c : all) {
    if (!c->alive()) continue;
    const worker_stats w = c->stats();
    ++count;
    text += "  " + to_string(c->id()) +
            (c->abandoned() ? " abandoned"
             : w.busy       ? " busy"
                            : " idle") +
            ", " + std::to_string(w.waiting) + " waiting, " + std::to_string(w.calls) + " turns\n";
  }
  const std::vector<detail::running_turn> running = detail::running_turns<Lazy>();
  return "workers: " + std::to_string(count) + "\n" + text + detail::describe_waits(all) +
         detail::describe_running(running, all) + detail::describe_chains(running, all);
}

template <class Lazy>
inline std::string basic_broker<Lazy>::dump() const {
  return dump_of(*core_);
}

template <class Lazy>
template <class T>
task<T> basic_broker<Lazy>::stoppable_by_signal(task<T> t) {
  detail::branch<T> body(std::move(t));
  detail::join_point join(detail::link_kind::scope);
  detail::signal_watch watch(join);
  detail::branch_base* only = &body;
  co_await join.all_ended(&only, 1);
  co_return body.result().take();
}

template <class Lazy>
template <class T>
task<T> basic_broker<Lazy>::drained(task<T> t) {
  result<T> outcome = co_await as_result(std::move(t));
  co_await terminate();
  co_return std::move(outcome).value();
}

/// What programs use; `basic_broker` says what it offers, docs/compilers.md why that is a template.
class broker : public basic_broker<void> {
public:
  using basic_broker<void>::basic_broker;
};

/// For the parts of the library that run a broker where no thread may block for its end.
struct detail::broker_access {
  static broker_core<void>& core_of(const broker& b) noexcept { return *b.core_; }

  /// What the destructor would wait for; it does not, from then on. Awaited on the broker's
  /// executor, to the end, before the destructor runs.
  static task<> take_end(broker& b) noexcept { return std::move(b.end_); }
};

}  // namespace troupe
