// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a host has to say of guests that have gone.
///
/// Layer: gateway. One coroutine while there is something to be said.

#include <cstddef>
#include <list>
#include <utility>

#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/base/result.hpp>
#include <troupe/base/scope_exit.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/gateway/shared/gateway_node.hpp>
#include <troupe/gateway/shared/wire.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

/// Each is said until a keeper has heard it, whoever that is. One that begins is told who is still
/// there, and hears of others too, whom it does not know.
///
/// Part of its node. Thread safety: all members but the destructor from any thread.
class departures {
public:
  explicit departures(gateway_node& n) noexcept : node_(n) {}
  departures(const departures&) = delete;
  departures& operator=(const departures&) = delete;
  ~departures() = default;

  void say(const std::string& cluster, const std::string& shard, std::uint64_t number) noexcept;

private:
  static constexpr std::size_t at_once = 1000;

  static task<> say_all(intrusive_ptr<gateway_node> node, departures& self);
  wire::left take();
  void put_back(wire::left&& unheard) noexcept;
  bool is_done() noexcept;

  gateway_node& node_;
  spin_lock lock_;  // guards all below
  std::list<wire::departure> unsaid_;
  bool speaks_ = false;  // `say_all` runs, or is about to
};

inline void departures::say(const std::string& cluster, const std::string& shard,
                            std::uint64_t number) noexcept try {
  std::list<wire::departure> fresh;
  fresh.push_back({cluster, shard, number});
  {
    const spin_guard guard(lock_);
    unsaid_.splice(unsaid_.end(), fresh);
    if (std::exchange(speaks_, true)) return;
  }
  try {
    node_.workers.spawn(say_all(intrusive_ptr<gateway_node>(&node_), *this));
  } catch (...) {
    const spin_guard guard(lock_);
    speaks_ = false;  // the next one tries again
  }
} catch (...) {
  // For want of memory: the keeper counts one too many.
}

inline task<> departures::say_all(intrusive_ptr<gateway_node> node, departures& self) {
  try {
    while (!self.is_done()) {
      wire::left gone = self.take();
      bool heard = false;
      const scope_exit again([&]() noexcept {
        if (!heard) self.put_back(std::move(gone));
      });
      while (!heard && !node->is_closed()) {
        auto asking =
            as_result(node->ask_keeper<wire::nothing>(wire::question(gone), node->options.lease));
        const result<wire::nothing> answer = co_await std::move(asking);
        heard = answer.has_value();
        if (!heard) co_await sleep_for(node->options.lease / 30);
      }
    }
  } catch (...) {  // the broker goes, or there is no memory: the next one tries again
    const spin_guard guard(self.lock_);
    self.speaks_ = false;
  }
}

inline wire::left departures::take() {
  std::list<wire::departure> some;
  {
    const spin_guard guard(lock_);
    auto until = unsaid_.begin();
    for (std::size_t i = 0; i != at_once && until != unsaid_.end(); ++i) ++until;
    some.splice(some.end(), unsaid_, unsaid_.begin(), until);
  }
  wire::left gone;
  gone.all.reserve(some.size());
  for (wire::departure& d : some) gone.all.push_back(std::move(d));
  return gone;
}

inline void departures::put_back(wire::left&& unheard) noexcept try {
  std::list<wire::departure> again;
  for (wire::departure& d : unheard.all) again.push_back(std::move(d));
  const spin_guard guard(lock_);
  unsaid_.splice(unsaid_.begin(), again);
} catch (...) {
  // For want of memory: the keeper counts some too many.
}

/// Who says something afterwards finds nobody who speaks.
inline bool departures::is_done() noexcept {
  std::list<wire::departure> dropped;
  const spin_guard guard(lock_);
  if (node_.is_closed()) dropped.swap(unsaid_);
  if (unsaid_.empty()) speaks_ = false;
  return unsaid_.empty();
}

}  // namespace troupe::detail
