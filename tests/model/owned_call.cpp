// SPDX-License-Identifier: MIT
// A call with a time limit settles once: done, too late, or withdrawn, whatever comes first.

#include <model/kit.hpp>

#include <chrono>

namespace {

namespace model = troupe::model;
namespace detail = troupe::detail;
using model::counter;
using model::event;
using model::probe;
using model::worker_world;
using troupe::task;
using namespace std::chrono_literals;

task<int> limited_add(worker_world& w) { co_return co_await w.call<&counter::add>().within(1s); }
task<int> limited_add_after(worker_world& w) {
  co_return co_await w.call<&counter::add_after>().within(1s);
}

/// 0: a value; else the code it failed with, which has to be one of these.
int code_of(model::root<int>& r, std::initializer_list<troupe::errc> allowed) {
  model::check(r.ended(), "the call did not settle");
  try {
    static_cast<void>(r.result());
    return 0;
  } catch (const troupe::error& thrown) {
    bool good = false;
    for (const troupe::errc e : allowed) good = good || thrown.code() == e;
    model::check(good, "another error");
    return thrown.code().value();
  }
}

/// The time is up while it waits, runs, or has been done.
void done_or_late() {
  worker_world w(2);
  w.warm_up();
  model::root<int> r(w.owner.on, limited_add(w), w.posters);
  r.start();
  model::run(
      [&] {
        w.owner.on.pass(2s);
        w.done();
      },
      [&] { w.serve(); });
  w.drain();
  const int code = code_of(r, {troupe::errc::expired, troupe::errc::timed_out});
  model::note(code);
  w.end();
}

/// A stop request beside it.
void done_or_stopped() {
  worker_world w(2);
  w.warm_up();
  model::root<int> r(w.owner.on, limited_add(w), w.posters);
  r.start();
  model::run(
      [&] {
        r.request_stop();
        w.done();
      },
      [&] { w.serve(); }, [&] { w.serve(); });
  w.drain();
  model::note(code_of(r, {troupe::errc::cancelled}));
  w.end();
}

/// All three, with two threads that serve.
void done_late_or_stopped() {
  worker_world w(3);
  w.warm_up();
  model::root<int> r(w.owner.on, limited_add(w), w.posters);
  r.start();
  model::run(
      [&] {
        w.owner.on.pass(2s);
        w.done();
      },
      [&] {
        r.request_stop();
        w.done();
      },
      [&] { w.serve(); }, [&] { w.serve(); });
  w.drain();
  model::note(
      code_of(r, {troupe::errc::expired, troupe::errc::timed_out, troupe::errc::cancelled}));
  w.end();
}

/// The method is a coroutine that may go on after its caller was told that it is late.
void late_while_it_runs() {
  worker_world w(3);
  w.warm_up();
  event e;
  counter::awaited = &e;
  model::root<int> r(w.owner.on, limited_add_after(w), w.posters);
  r.start();
  model::run(
      [&] {
        w.owner.on.pass(2s);
        w.done();
      },
      [&] {
        e.set();
        w.done();
      },
      [&] { w.serve(); });
  w.drain();
  model::note(code_of(r, {troupe::errc::expired, troupe::errc::timed_out}));
  w.end();
}

/// It waits in the line of a busy worker, out of which the time limit takes it.
void late_in_line() {
  worker_world w(3);
  w.warm_up();
  probe p;
  model::root<int> r(w.owner.on, limited_add(w), w.posters);
  r.start();
  model::run(
      [&] {
        w.tell(p);
        w.done();
      },
      [&] {
        w.owner.on.pass(2s);
        w.done();
      },
      [&] { w.serve(); });
  w.drain();
  model::check(p.ran, "a message was lost");
  model::note(code_of(r, {troupe::errc::expired, troupe::errc::timed_out}));
  w.end();
}

/// Refused by its worker while the time is up.
void refused_or_late() {
  worker_world w(3);
  w.warm_up();
  model::root<int> r(w.owner.on, limited_add(w), w.posters);
  r.start();
  model::run(
      [&] {
        w.target().refuse_waiting(troupe::errc::worker_stopped);
        w.done();
      },
      [&] {
        w.owner.on.pass(2s);
        w.done();
      },
      [&] { w.serve(); });
  w.drain();
  model::note(
      code_of(r, {troupe::errc::expired, troupe::errc::timed_out, troupe::errc::worker_stopped}));
  w.end();
}

constexpr model::limits bounds{
    .preemptions = 2, .stale_reads = 1, .executions = 80'000, .draws = 60'000};

const model::scenario all[] = {{"owned_call.done_or_late", done_or_late, bounds},
                               {"owned_call.done_or_stopped", done_or_stopped, bounds},
                               {"owned_call.done_late_or_stopped", done_late_or_stopped, bounds},
                               {"owned_call.late_while_it_runs", late_while_it_runs, bounds},
                               {"owned_call.late_in_line", late_in_line, bounds},
                               {"owned_call.refused_or_late", refused_or_late, bounds}};

}  // namespace
