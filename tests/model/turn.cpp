// SPDX-License-Identifier: MIT
// A method that is a coroutine: what resumes it is not lost, nothing of its turn runs twice or
// beside the rest, and nobody else has a turn meanwhile.

#include <model/kit.hpp>

namespace {

namespace model = troupe::model;
namespace detail = troupe::detail;
using model::counter;
using model::event;
using model::probe;
using model::worker_world;
using troupe::task;

/// A variable of the caller is written before its call and read after it: on another thread, if
/// that is where it goes on.
template <auto M>
task<int> call(worker_world& w) {
  model::var<int> mine(7);
  const model::reply r = co_await w.call<M>();
  model::check(mine.get() == 7, "the caller is not as it was");
  co_return r.get();
}
task<int> call_add_after(worker_world& w) { return call<&counter::add_after>(w); }
task<int> call_add_both(worker_world& w) { return call<&counter::add_after_both>(w); }
task<int> call_add(worker_world& w) { return call<&counter::add>(w); }

/// Resumed by another thread than the one that serves, which may be suspending it just then.
void resumed() {
  worker_world w(2);
  w.warm_up();
  event e;
  counter::awaited = &e;
  model::var<int> data(0);
  model::root<int> r(w.owner.on, call_add_after(w), w.posters);
  r.start();
  model::run(
      [&] {
        data.set(1);
        e.set();
        w.done();
      },
      [&] { w.serve(); });
  w.drain();
  model::check(r.ended() && r.result() == 2, "the call did not end");
  w.end();
}

/// The same with two threads that serve, and a message that waits for its turn.
void resumed_beside_a_message() {
  worker_world w(3);
  w.warm_up();
  event e;
  counter::awaited = &e;
  probe p;
  model::root<int> r(w.owner.on, call_add_after(w), w.posters);
  r.start();
  model::run(
      [&] {
        e.set();
        w.done();
      },
      [&] {
        w.tell(p);
        w.done();
      },
      [&] { w.serve(); }, [&] { w.serve(); });
  w.drain();
  model::check(r.ended() && p.ran, "a turn was lost");
  w.end();
}

/// Two coroutines of one turn, made ready by two threads.
void resumed_twice() {
  worker_world w(3);
  w.warm_up();
  event one;
  event two;
  counter::awaited = &one;
  counter::awaited_too = &two;
  model::root<int> r(w.owner.on, call_add_both(w), w.posters);
  r.start();
  model::run(
      [&] {
        one.set();
        w.done();
      },
      [&] {
        two.set();
        w.done();
      },
      [&] { w.serve(); }, [&] { w.serve(); });
  w.drain();
  model::check(r.ended() && r.result() == 3, "a turn was lost");
  w.end();
}

/// The same with nobody else to run what is ready: each of the two comes and goes.
void served_in_turns() {
  worker_world w(3);
  w.warm_up();
  event one;
  event two;
  counter::awaited = &one;
  counter::awaited_too = &two;
  model::root<int> r(w.owner.on, call_add_both(w), w.posters);
  r.start();
  w.owner.on.serve_once();
  const auto set = [&](event& e) {
    e.set();
    w.owner.on.serve_once();
  };
  model::run([&] { set(one); }, [&] { set(two); });
  w.drain();
  model::check(r.ended() && r.result() == 3, "a turn was lost");
  w.end();
}

/// A call that waits in line, and is asked to stop meanwhile.
void withdrawn() {
  worker_world w(4);
  w.warm_up();
  event e;
  counter::awaited = &e;
  model::root<int> first(w.owner.on, call_add_after(w), w.posters);
  model::root<int> second(w.owner.on, call_add(w), w.posters);
  first.start();
  second.start();
  model::run(
      [&] {
        second.request_stop();
        w.done();
      },
      [&] {
        e.set();
        w.done();
      },
      [&] { w.serve(); });
  w.drain();
  model::check(first.ended() && second.ended(), "a call was lost");
  try {
    model::check(second.result() == 3, "another result");
  } catch (const troupe::error& thrown) {
    model::check(thrown.code() == troupe::errc::cancelled, "another error");
  }
  w.end();
}

/// The same while the worker stays busy: whenever the request comes, nobody else ends the call.
void withdrawn_from_a_busy_worker() {
  worker_world w(2);
  w.warm_up();
  event e;
  counter::awaited = &e;
  detail::atomic<int> ended_later(1);
  model::root<int> first(w.owner.on, call_add_after(w), ended_later);
  model::root<int> second(w.owner.on, call_add(w), w.posters);
  first.start();
  w.owner.on.serve_once();
  second.start();
  model::run(
      [&] {
        second.request_stop();
        w.done();
      },
      [&] { w.serve(); });
  bool is_cancelled = false;
  try {
    static_cast<void>(second.result());
  } catch (const troupe::error& thrown) {
    is_cancelled = thrown.code() == troupe::errc::cancelled;
  }
  model::check(is_cancelled, "a stop request was lost");
  e.set();
  w.drain();
  model::check(first.ended() && first.result() == 2, "the other call did not end");
  w.end();
}

task<int> call_from_two(worker_world& w) {
  auto [a, b] = co_await troupe::when_all(call_add(w), call_add(w));
  co_return a + b;
}

/// Two calls of one coroutine beside each other, on two threads.
void joined() {
  worker_world w(1);
  w.warm_up();
  model::root<int> r(w.owner.on, call_from_two(w), w.posters);
  r.start();
  model::run([&] { w.serve(); }, [&] { w.serve(); });
  w.drain();
  model::check(r.ended() && r.result() == 5, "a call was lost");
  w.end();
}

constexpr model::limits bounds{
    .preemptions = 2, .stale_reads = 1, .executions = 100'000, .draws = 20'000};

const model::scenario all[] = {
    {"turn.resumed", resumed, bounds},
    {"turn.resumed_beside_a_message", resumed_beside_a_message, bounds},
    {"turn.resumed_twice", resumed_twice, bounds},
    {"turn.served_in_turns", served_in_turns, bounds},
    {"turn.withdrawn", withdrawn, bounds},
    {"turn.withdrawn_from_a_busy_worker", withdrawn_from_a_busy_worker, bounds},
    {"turn.joined", joined, bounds}};

}  // namespace
