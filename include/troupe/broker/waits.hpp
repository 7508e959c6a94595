// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Who waits for whom, as text: the suspended turns of workers, and what waits in their mailboxes.
///
/// Layer: broker. For people who read about a hang; of one moment, worker by worker.

#include <string>

#include <troupe/actor/cell.hpp>
#include <troupe/actor/cell_mailbox.hpp>
#include <troupe/actor/message.hpp>
#include <troupe/actor/turn.hpp>
#include <troupe/actor/wait_graph.hpp>
#include <troupe/base/worker_id.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

/// The worker that holds what is waited for, among `cells`.
template <class Cells>
std::string name_of(const hold_point* point, const Cells& cells) {
  for (const auto& c : cells) {
    if (static_cast<const hold_point*>(c.get()) == point) return to_string(c->id());
  }
  return "a turn of its own";  // that nests in it
}

/// One line for a suspended turn.
template <class Cells>
std::string describe_turn(turn& t, const Cells& cells) {
  std::string text = "  " + to_string(t.worker().id()) + "." + std::string(t.method());
  if (t.called_by != nullptr) text += ", called by " + to_string(t.called_by->id());
  const spin_guard graph(wait_graph::instance().lock());
  const char* joint = ", waits for ";
  turn_waits* const known = t.waits_so_far();
  if (known == nullptr) return text + "\n";
  for (const wait_entry& w : known->waits) {
    text += joint + name_of(w.point, cells);
    joint = " and ";
  }
  return text + "\n";
}

/// Empty if nobody waits for anything. Throws `std::bad_alloc`.
template <class Cells>
std::string describe_waits(const Cells& cells) {
  std::string turns;
  std::string waiting;
  for (const auto& c : cells) {
    std::string methods;
    c->for_each_open([&](turn& t) { turns += describe_turn(t, cells); },
                     [&](message& m) {
                       methods += methods.empty() ? "" : ", ";
                       methods += m.method_name();
                     });
    if (!methods.empty()) waiting += "  " + to_string(c->id()) + ": " + methods + "\n";
  }
  std::string text;
  if (!turns.empty()) text += "suspended turns:\n" + turns;
  if (!waiting.empty()) text += "waiting calls:\n" + waiting;
  return text;
}

}  // namespace troupe::detail
