// SPDX-License-Identifier: MIT
// A call with a time limit settles once: done, too late, or withdrawn, whatever comes first.

#include <model/kit.hpp>

#include <troupe/coro/as_result.hpp>

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

/// A variable of the caller is written before its call and read after it.
template <auto M>
task<int> limited(worker_world& w) {
  model::var<int> mine(7);
  auto answer = co_await troupe::as_result(w.call<M>().within(1s));
  model::check(mine.get() == 7, "the caller is not as it was");
  co_return answer.value().get();
}
task<int> limited_add(worker_world& w) { return limited<&counter::add>(w); }
task<int> limited_add_after(worker_world& w) { return limited<&counter::add_after>(w); }

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

task<int> open_turn(worker_world& w) {
  const model::reply r = co_await w.call<&counter::add_after>();
  co_return r.get();
}

/// It waits behind a turn that is open, is refused there, and the time is up.
void refused_or_late() {
  worker_world w(4);
  w.warm_up();
  event e;
  counter::awaited = &e;
  model::root<int> open(w.owner.on, open_turn(w), w.posters);
  model::root<int> r(w.owner.on, limited_add(w), w.posters);
  open.start();
  r.start();
  w.owner.on.serve_once();
  model::run(
      [&] {
        w.target().refuse_waiting(troupe::errc::worker_stopped);
        w.done();
        e.set();
        w.owner.on.serve_once();
      },
      [&] {
        w.owner.on.pass(2s);
        w.done();
        w.owner.on.serve_once();
      });
  w.drain();
  model::check(open.ended(), "a turn was lost");
  model::note(
      code_of(r, {troupe::errc::expired, troupe::errc::timed_out, troupe::errc::worker_stopped}));
  w.end();
}

/// Settled while its caller is still about to suspend: the two ways to the answer.
void settled_at_once() {
  worker_world w(1);
  w.warm_up();
  model::root<int> r(w.owner.on, limited_add(w), w.posters);
  r.start();
  model::run([&] { w.owner.on.serve_once(); },
             [&] {
               w.owner.on.serve_once();
               w.owner.on.serve_once();
             });
  w.drain();
  model::note(code_of(r, {}));
  w.end();
}

/// The time is up, or a stop requested, while its caller is still about to suspend.
void late_at_once() {
  worker_world w(1);
  w.warm_up();
  model::root<int> r(w.owner.on, limited_add(w), w.posters);
  r.start();
  model::run([&] { w.owner.on.serve_once(); },
             [&] {
               w.owner.on.pass(2s);
               w.owner.on.serve_once();
             });
  w.drain();
  model::note(code_of(r, {troupe::errc::expired, troupe::errc::timed_out}));
  w.end();
}

/// Issues a call as `owned_awaiter` does, and writes something between the issue and the
/// suspension.
class late_writer {
public:
  using invocation = detail::invocation_for<&counter::add, counter, true>;
  using block = detail::owned_call_of<invocation>;

  class awaiter {
  public:
    awaiter(worker_world& w, detail::frame& f)
        : block_(new block(w.worker, invocation(std::in_place))), frame_(f) {}
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<>) {
      bool* const flag = std::exchange(frame_.completed_inline, nullptr);
      block_->bind(frame_, troupe::never);
      block_->issue();
      written_.set(1);
      if (block_->stay_suspended()) return true;
      frame_.completed_inline = flag;
      return false;
    }
    int await_resume() {
      model::check(written_.get() == 1, "the caller is not as it was");
      model::check(block_->settled() == block::outcome::done, "settled in another way");
      return block_->take().get();
    }

  private:
    troupe::intrusive_ptr<block> block_;
    detail::frame& frame_;
    model::var<int> written_{0};
  };

  explicit late_writer(worker_world& w) noexcept : world_(w) {}
  awaiter await_by(detail::frame& f) && { return awaiter(world_, f); }

private:
  worker_world& world_;
};

task<int> write_late(worker_world& w) {
  const int answer = co_await late_writer(w);
  co_return answer;
}

/// Who settles the call resumes a caller that is as it was when it suspended.
void resumed_as_it_was() {
  worker_world w(1);
  w.warm_up();
  model::root<int> r(w.owner.on, write_late(w), w.posters);
  r.start();
  model::run([&] { w.owner.on.serve_once(); },
             [&] {
               w.owner.on.serve_once();
               w.owner.on.serve_once();
             });
  w.drain();
  model::note(code_of(r, {}));
  w.end();
}

/// Awaits a call that others know.
class shared_call {
public:
  using block = late_writer::block;

  class awaiter {
  public:
    awaiter(block& b, detail::frame& f) noexcept : block_(b), frame_(f) {}
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<>) {
      bool* const flag = std::exchange(frame_.completed_inline, nullptr);
      block_.bind(frame_, troupe::never);
      block_.issue();
      if (block_.stay_suspended()) return true;
      frame_.completed_inline = flag;
      return false;
    }
    block::outcome await_resume() const noexcept { return block_.settled(); }

  private:
    block& block_;
    detail::frame& frame_;
  };

  explicit shared_call(block& b) noexcept : block_(b) {}
  awaiter await_by(detail::frame& f) && noexcept { return awaiter(block_, f); }

private:
  block& block_;
};

task<int> await_shared(shared_call::block& b, event& late) {
  const auto first = co_await shared_call(b);
  co_await late.occurred();
  model::check(b.settled() == first, "settled again, in another way");
  co_return static_cast<int>(first);
}

/// How a call has settled is for good: a time limit that comes later changes nothing.
void stays_settled() {
  worker_world w(1);
  w.warm_up();
  event late;
  troupe::intrusive_ptr<shared_call::block> b(
      new shared_call::block(w.worker, late_writer::invocation(std::in_place)));
  model::root<int> r(w.owner.on, await_shared(*b, late), w.posters);
  r.start();
  w.owner.on.serve_once();
  model::run(
      [&] {
        w.owner.on.serve_once();
        w.owner.on.serve_once();
      },
      [&] {
        b->expire();
        late.set();
      });
  w.drain();
  model::note(r.result());
  b.reset();
  w.end();
}

constexpr model::limits bounds{
    .preemptions = 2, .stale_reads = 1, .executions = 80'000, .draws = 20'000};

const model::scenario all[] = {{"owned_call.done_or_late", done_or_late, bounds},
                               {"owned_call.done_or_stopped", done_or_stopped, bounds},
                               {"owned_call.done_late_or_stopped", done_late_or_stopped, bounds},
                               {"owned_call.late_while_it_runs", late_while_it_runs, bounds},
                               {"owned_call.late_in_line", late_in_line, bounds},
                               {"owned_call.refused_or_late", refused_or_late, bounds},
                               {"owned_call.settled_at_once", settled_at_once, bounds},
                               {"owned_call.resumed_as_it_was", resumed_as_it_was, bounds},
                               {"owned_call.stays_settled", stays_settled, bounds},
                               {"owned_call.late_at_once", late_at_once, bounds}};

}  // namespace
