// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What runs, and every chain of calls under way as an asynchronous stack trace, as text.
///
/// Layer: broker. For people who read about a hang.
///
/// A chain is followed upward, from a call that waits in a mailbox or from a suspended turn, and
/// never downward. Whoever is above waits for what is below: as long as the mailbox lock keeps that
/// where it is, all above stays where it is, but for the callers of calls with a time limit, whose
/// ties the lock of the wait graph guards. So it is safe also where threads did not pause.

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe/actor/cell.hpp>
#include <troupe/actor/cell_mailbox.hpp>
#include <troupe/actor/message.hpp>
#include <troupe/actor/turn.hpp>
#include <troupe/actor/wait_graph.hpp>
#include <troupe/base/put_off.hpp>
#include <troupe/base/worker_id.hpp>
#include <troupe/coro/chain.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/coro/thread_list.hpp>
#include <troupe/coro/thread_state.hpp>
#include <troupe/coro/turn_record.hpp>
#include <troupe/sync/spin_lock.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// What one thread shows of itself, and what the watch has noted of it.
struct running_turn {
  glimpse seen;
  duration lasted{};  // zero: not known
  bool stalled = false;
  bool is_here = false;  // on the thread that looks
};

/// The innermost turn that each thread runs. Threads that have paused run none.
template <class Lazy = void>
std::vector<running_turn> running_turns() {
  std::vector<put_off<running_turn, Lazy>> turns;
  std::size_t count = 0;
  const turn_record& own = this_thread_state().record;
  thread_list& threads = thread_list::instance();
  threads.for_each([&count](const listed_thread&) noexcept { ++count; });
  turns.reserve(count + 16);  // more than come meanwhile; no memory is asked for under the lock
  threads.for_each([&](const listed_thread& t) noexcept {
    if (turns.size() == turns.capacity()) return;
    const bool is_call = t.record.called.load() != nullptr;
    const glimpse seen = is_call ? glimpse::of_call(t.record) : glimpse::of_served(t.record);
    if (seen.worker == nullptr || t.record.paused.load()) return;
    const turn_sighting& noted = is_call ? t.call : t.served;
    running_turn found{.seen = seen, .is_here = &t.record == &own};
    if (noted.seen == seen) {
      found.lasted = noted.lasted;
      found.stalled = noted.stalled;
    }
    turns.push_back(found);
  });
  return turns;
}

/// One line for each that runs at one of `cells`, which are counted: an address among them is what
/// it seems to be.
template <class Turns, class Cells>
std::string describe_running(const Turns& turns, const Cells& cells) {
  std::string text;
  for (const auto& t : turns) {
    const auto known = std::find_if(cells.begin(), cells.end(), [&t](const auto& c) noexcept {
      return c.get() == t.seen.worker;
    });
    if (known == cells.end()) continue;
    text += "  " + to_string((*known)->id()) + "." + std::string(*t.seen.method);
    if (t.lasted != duration::zero()) {
      std::array<char, 32> time{};
      std::snprintf(time.data(), time.size(), ", for %.1f s",
                    std::chrono::duration<double>(t.lasted).count());
      text += time.data();
    }
    if (t.stalled) text += ", stalled";
    if (t.is_here) text += ", here";
    text += "\n";
  }
  return text.empty() ? text : "running turns:\n" + text;
}

/// Writes chains of calls, one block for each, innermost first.
///
/// First, every chain is followed that begins at a call that waits, and all turns are noted from
/// which something is under way; then those are written that begin at one of the other turns.
template <class Lazy = void>
class call_traces {
public:
  /// What waits, and for whom.
  void add_waiting(const cell& c, const message& m) {
    const spin_guard graph(wait_graph::instance().lock());
    const frame* const caller = m.caller_frame();
    if (caller == nullptr) return;
    text_ += "  " + to_string(c.id()) + "." + std::string(m.method_name()) + ", waiting\n";
    write_from(caller);
    note_from(caller);
  }

  /// The coroutine that looks. Nobody else resumes it meanwhile.
  void add_own(const frame& f) {
    const spin_guard graph(wait_graph::instance().lock());
    text_ += "  this dump\n";
    write_from(&f);
    note_from(&f);
  }

  /// Notes what is above a turn.
  void note_above(const turn& t) {
    const spin_guard graph(wait_graph::instance().lock());
    note_from(caller_of(t, [this](const turn& above) { met_.push_back(&above); }));
  }
  void all_noted() { std::sort(met_.begin(), met_.end(), std::less<>()); }

  /// A turn, unless something that was noted or written is under way below it.
  void add_suspended(const turn& t) {
    if (std::binary_search(met_.begin(), met_.end(), &t, std::less<>())) return;
    const spin_guard graph(wait_graph::instance().lock());
    text_ += "  " + name_of(t) + ", suspended\n";
    write_from(caller_of(t, [this](const turn& above) { write(above); }));
  }

  std::string take() { return std::move(text_); }

private:
  static std::string name_of(const turn& t) {
    return to_string(t.worker().id()) + "." + std::string(t.method());
  }
  static const turn* turn_of_frame(const frame& f) noexcept { return turn_of(f.chain->call); }

  /// The coroutine that called a turn. Where only turns are known above it, these come first.
  template <class OnTurn>
  static const frame* caller_of(const turn& t, OnTurn on_turn) {
    for (const turn* at = &t;;) {
      if (const frame* const caller = at->caller_frame()) return caller;
      at = at->called_from();
      if (at == nullptr) return nullptr;
      on_turn(*at);
    }
  }

  /// Coroutines of one turn are tasks, but for the outermost, which is the method.
  template <class OnTask, class OnTurn>
  static void for_each_above(const frame* f, OnTask on_task, OnTurn on_turn) {
    while (f != nullptr) {
      const turn* const t = turn_of_frame(*f);
      const frame* const up = f->parent;
      if (t == nullptr || (up != nullptr && turn_of_frame(*up) == t)) {
        on_task(*f);
        f = up;
      } else {
        on_turn(*t);
        f = up != nullptr ? up : caller_of(*t, on_turn);
      }
    }
  }

  void write(const turn& t) { text_ += "    in " + name_of(t) + "\n"; }

  void write_from(const frame* innermost) {
    for_each_above(
        innermost,
        [this](const frame& f) {
          text_ += "    in a task, depth " + std::to_string(f.depth) + "\n";
        },
        [this](const turn& t) { write(t); });
  }

  void note_from(const frame* innermost) {
    for_each_above(
        innermost, [](const frame&) noexcept {}, [this](const turn& t) { met_.push_back(&t); });
  }

  std::string text_;
  std::vector<put_off<const turn*, Lazy>>
      met_;  // from which something is under way; sorted by all_noted
};

/// Empty if no call is under way. Throws `std::bad_alloc`.
template <class Turns, class Cells>
std::string describe_chains(const Turns& running, const Cells& cells) {
  call_traces<Cells> traces;
  if (const frame* const own = this_thread_state().running) traces.add_own(*own);
  for (const auto& c : cells) {
    c->for_each_open([&](const turn& t) { traces.note_above(t); },
                     [&](const message& m) { traces.add_waiting(*c, m); });
  }
  traces.all_noted();
  const auto runs = [&](const turn& t) noexcept {
    return std::any_of(running.begin(), running.end(), [&](const running_turn& r) noexcept {
      return r.seen.worker == &t.worker() && *r.seen.method == t.method();
    });
  };
  for (const auto& c : cells) {
    c->for_each_open(
        [&](const turn& t) {
          if (!runs(t)) traces.add_suspended(t);
        },
        [](const message&) noexcept {});
  }
  std::string text = traces.take();
  return text.empty() ? text : "call chains, innermost first:\n" + text;
}

}  // namespace troupe::detail
