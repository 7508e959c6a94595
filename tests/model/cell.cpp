// SPDX-License-Identifier: MIT
// One turn at a time, each message settled once and in the order of its sender, one instance at a
// time: the turn word with its mailbox, closing and making anew.

#include <model/kit.hpp>

#include <troupe/actor/life.hpp>

namespace {

namespace model = troupe::model;
namespace detail = troupe::detail;
using model::probe;
using model::worker_world;
using troupe::task;

/// Two on the fast path: one of them may find the worker busy, and makes a message then.
void two_calls() {
  worker_world w(2);
  w.warm_up();
  probe slow[2];
  bool fast[2] = {};
  const auto call = [&](int i) {
    fast[i] = w.call_fast();
    if (!fast[i]) w.tell(slow[i]);
    w.done();
  };
  model::run([&] { call(0); }, [&] { call(1); }, [&] { w.serve(); });
  w.drain();
  model::check(fast[0] != slow[0].ran && fast[1] != slow[1].ran, "a call was lost");
  w.end();
}

/// Messages of two senders and a call beside them.
void messages() {
  worker_world w(2);
  w.warm_up();
  probe of_first[2];
  probe of_second;
  of_first[1].must_follow = &of_first[0];
  model::run(
      [&] {
        w.tell(of_first[0]);
        w.tell(of_first[1]);
        w.done();
      },
      [&] {
        if (!w.call_fast()) w.tell(of_second);
        w.done();
      },
      [&] { w.serve(); });
  w.drain();
  model::check(of_first[0].ran && of_first[1].ran, "a message was lost");
  w.end();
}

/// Who ends a turn runs the plain messages, and leaves the others to the executor.
void mixed() {
  worker_world w(2);
  w.warm_up();
  probe plain(detail::message_kind::tell, true);
  probe other(detail::message_kind::tell, false);
  model::run(
      [&] {
        w.tell(plain);
        w.tell(other);
        w.done();
      },
      [&] {
        w.call_fast();
        w.call_fast();
        w.done();
      },
      [&] { w.serve(); });
  w.drain();
  model::check(plain.ran && other.ran, "a message was lost");
  w.end();
}

/// Two threads serve: nobody else gets the worker while one does.
void two_servers() {
  worker_world w(1);
  w.warm_up();
  probe a(detail::message_kind::tell, false);
  probe b(detail::message_kind::tell, false);
  b.must_follow = &a;
  model::run(
      [&] {
        w.tell(a);
        w.tell(b);
        w.call_fast();
        w.done();
      },
      [&] { w.serve(); }, [&] { w.serve(); });
  w.drain();
  model::check(a.ran && b.ran, "a message was lost");
  w.end();
}

/// Two first messages: one instance.
void made_once() {
  worker_world w(2);
  probe a;
  probe b;
  model::run(
      [&] {
        w.tell(a);
        w.done();
      },
      [&] {
        w.tell(b);
        w.done();
      },
      [&] { w.serve(); });
  w.drain();
  model::check(a.ran && b.ran && model::counter::made == 1, "not made once");
  w.end();
}

/// An eviction beside messages: what comes after it makes the next instance.
void evicted() {
  worker_world w(2);
  w.warm_up();
  probe a;
  probe b;
  b.must_follow = &a;
  model::run(
      [&] {
        w.tell(a);
        w.tell(b);
        w.done();
      },
      [&] {
        w.target().evict();
        w.done();
      },
      [&] { w.serve(); });
  w.drain();
  model::check(a.ran && b.ran, "a message was lost");
  w.end();
}

/// The same beside the fast path.
void evicted_beside_calls() {
  worker_world w(2);
  w.warm_up();
  probe slow;
  bool fast = false;
  bool evicting = false;
  model::run(
      [&] {
        fast = w.call_fast();
        if (!fast) w.tell(slow);
        w.done();
      },
      [&] {
        evicting = w.target().evict();
        w.done();
      },
      [&] { w.serve(); });
  w.drain();
  model::check(fast != slow.ran, "a call was lost");
  model::check(!evicting || slow.ran || model::counter::alive == 0, "not evicted");
  w.end();
}

/// Two evictions, one message.
void evicted_twice() {
  worker_world w(3);
  w.warm_up();
  probe a;
  const auto evict = [&] {
    w.target().evict();
    w.done();
  };
  model::run(
      [&] {
        w.tell(a);
        w.done();
      },
      evict, evict, [&] { w.serve(); });
  w.drain();
  model::check(a.ran, "a message was lost");
  w.end();
}

/// Closing by a mark: what was queued before runs before, and the mark is settled.
void closed() {
  worker_world w(2);
  w.warm_up();
  probe before;
  probe after;
  troupe::intrusive_ptr<detail::close_mark> mark(new detail::close_mark);
  add_ref(mark.get());  // the mailbox's
  model::run(
      [&] {
        w.tell(before);
        w.target().close(*mark);
        w.done();
        mark.reset();  // as one who does not wait any longer
      },
      [&] {
        w.tell(after);
        w.done();
      },
      [&] { w.serve(); });
  w.drain();
  model::check(before.ran && after.ran, "a message was lost");
  model::check(model::counter::made == (model::counter::alive != 0 ? 2 : 1), "not closed");
  w.end();
}

/// A sender takes its message back while it may be running.
void taken_out() {
  worker_world w(2);
  w.warm_up();
  probe a(detail::message_kind::call);
  probe b;
  model::run(
      [&] {
        w.tell(a);
        w.done();
        if (w.target().take_out(a)) {
          model::check(!a.settled(), "settled twice");
          a.taken = true;
        }
      },
      [&] {
        w.tell(b);
        w.done();
      },
      [&] { w.serve(); });
  w.drain();
  model::check(a.settled() && a.ran != a.taken && b.ran, "not settled once");
  w.end();
}

/// Refusing all that waits, and dropping the oldest, beside a server.
void refused() {
  worker_world w(2);
  w.warm_up();
  probe a;
  probe b;
  model::run(
      [&] {
        w.tell(a);
        w.tell(b);
        w.done();
      },
      [&] {
        if (!w.target().drop_oldest()) w.target().refuse_waiting(troupe::errc::worker_stopped);
        w.done();
      },
      [&] { w.serve(); });
  w.drain();
  model::check(a.settled() && b.settled(), "a message was lost");
  w.end();
}

/// The broker goes while somebody sends.
void gone() {
  worker_world w(2);
  probe a;
  probe b;
  model::run(
      [&] {
        w.tell(a);
        w.done();
      },
      [&] {
        w.owner.close();
        w.target().settle_gone();
        w.tell(b);
        w.done();
      },
      [&] { w.serve(); });
  w.drain();
  model::check(a.settled() && b.settled(), "a message was lost");
  w.end();
}

/// The last reference goes while somebody else looks the worker up.
void last_reference() {
  model::owner_of_cells owner;
  troupe::intrusive_ptr<detail::cell> one = owner.cell_of("k");
  model::var<int> kept(0);
  model::run([&] { one.reset(); }, [&] { owner.cell_of("k").reset(); });
  model::check(owner.cells_deleted == 1 || owner.cells_deleted == 2, "a reference is left");
}

/// What the holder of a reference did to the worker happens before its end.
void references() {
  model::owner_of_cells owner;
  troupe::intrusive_ptr<detail::cell> one = owner.cell_of("k");
  troupe::intrusive_ptr<detail::cell> two = one;
  troupe::intrusive_ptr<detail::cell> three = one;
  const auto use = [](troupe::intrusive_ptr<detail::cell>& c) {
    c->stamp_use();
    c.reset();
  };
  model::run([&] { use(one); }, [&] { use(two); }, [&] { use(three); });
  model::check(owner.cells_deleted == 1, "a reference is left");
}

/// Whoever sees that a worker is gone sees what its last turn and its end have done.
void gone_is_seen() {
  worker_world w(1);
  w.warm_up();
  model::var<int> turns(0);
  model::counter::ends = &turns;
  model::run(
      [&] {
        w.owner.close();
        static_cast<void>(w.target().evict());
        w.done();
      },
      [&] { w.serve(); },
      [&] {
        const bool is_gone = w.target().word() == detail::word_gone;
        if (is_gone) model::check(turns.get() == 1, "gone before its end");
      });
  w.end();
}

/// A maker whose content is watched.
class watched_maker final : public detail::maker {
public:
  void* make(troupe::context&) const override {
    model::check(content.get() == 1, "half a maker");
    return new model::counter;
  }
  void destroy(void* instance) const noexcept override {
    delete static_cast<model::counter*>(instance);
  }
  task<> start(void*) const override { return task<>(); }
  task<> stop(void*) const override { return task<>(); }
  void before(void*, const troupe::call_info&) const override {}
  void after(void*, const troupe::call_info&) const noexcept override {}

  model::var<int> content{1};
};

/// Reads a watched maker through the options that a cell tells.
void look_at(const detail::cell& c, const watched_maker& possible) {
  if (&c.options() == &possible.options) model::check(possible.content.get() == 1, "half a maker");
}

/// A new factory is used by the next instance, and seen whole by whoever asks for the options.
void new_maker() {
  worker_world w(1);
  watched_maker fresh;
  probe a;
  model::run(
      [&] {
        fresh.content.set(1);
        w.owner.counters.current.store(&fresh, detail::order::release);
        w.tell(a);
        w.done();
      },
      [&] { look_at(w.target(), fresh); }, [&] { w.serve(); }, [&] { look_at(w.target(), fresh); });
  w.drain();
  model::check(a.ran, "a message was lost");
  w.end();
}

/// The same where somebody else than who has brought it makes the instance.
void new_maker_of_another() {
  worker_world w(1);
  watched_maker fresh;
  probe a;
  model::run(
      [&] {
        fresh.content.set(1);
        w.owner.counters.current.store(&fresh, detail::order::release);
      },
      [&] {
        w.tell(a);
        w.done();
      },
      [&] { w.serve(); }, [&] { look_at(w.target(), fresh); });
  w.drain();
  model::check(a.ran, "a message was lost");
  w.end();
}

constexpr model::limits bounds{
    .preemptions = 2, .stale_reads = 1, .executions = 100'000, .draws = 15'000};

const model::scenario all[] = {{"cell.two_calls", two_calls, bounds},
                               {"cell.messages", messages, bounds},
                               {"cell.mixed", mixed, bounds},
                               {"cell.two_servers", two_servers, bounds},
                               {"cell.made_once", made_once, bounds},
                               {"cell.evicted", evicted, bounds},
                               {"cell.evicted_beside_calls", evicted_beside_calls, bounds},
                               {"cell.evicted_twice", evicted_twice, bounds},
                               {"cell.closed", closed, bounds},
                               {"cell.taken_out", taken_out, bounds},
                               {"cell.refused", refused, bounds},
                               {"cell.gone", gone, bounds},
                               {"cell.last_reference", last_reference, bounds},
                               {"cell.references", references, {.preemptions = 3}},
                               {"cell.gone_is_seen", gone_is_seen, bounds},
                               {"cell.new_maker", new_maker, bounds},
                               {"cell.new_maker_of_another", new_maker_of_another, bounds}};

}  // namespace
