// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// SIGINT and SIGTERM as stop requests. The platform's part of broker/.
///
/// Layer: broker. Starts a thread while it exists; one at a time per process.

#include <csignal>
#include <cstdint>
#include <thread>

#include <troupe/coro/chain.hpp>
#include <troupe/coro/start_thread.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/parker.hpp>

namespace troupe::detail {

/// While it exists, the first SIGINT or SIGTERM asks all below `link` to stop; a second one has its
/// usual effect.
class signal_watch {
public:
  explicit signal_watch(chain_link& link) : link_(link) {
    state().pending.store(idle, order::relaxed);  // not what the watch before this one has left
    thread_ = start_thread<&signal_watch::watch>(*this);
    old_int_ = std::signal(SIGINT, &signal_watch::on_signal);
    old_term_ = std::signal(SIGTERM, &signal_watch::on_signal);
  }
  signal_watch(const signal_watch&) = delete;
  signal_watch& operator=(const signal_watch&) = delete;
  ~signal_watch() {
    std::signal(SIGINT, old_int_);
    std::signal(SIGTERM, old_term_);
    std::uint32_t none = idle;
    state().pending.compare_exchange_strong(none, ended, order::acq_rel, order::relaxed);
    state().wake.unpark();
    thread_.join();
  }

private:
  // What a handler may touch: lock-free atomics and a futex wake.
  struct shared {
    // idle: no signal yet; signalled: the first has come; ended: the watch is over.
    atomic<std::uint32_t> pending{idle};
    parker wake;
  };
  static constexpr std::uint32_t idle = 0, signalled = 1, ended = 2;

  static shared& state() noexcept {
    static shared s;
    return s;
  }

  static void on_signal(int number) noexcept {
    std::signal(number, SIG_DFL);
    std::uint32_t none = idle;
    state().pending.compare_exchange_strong(none, signalled, order::acq_rel, order::relaxed);
    state().wake.unpark();
  }

  void watch() noexcept {
    while (state().pending.load(order::acquire) == idle) state().wake.park();
    if (state().pending.load(order::acquire) == signalled) link_.request_stop();
  }

  using handler = void (*)(int);

  chain_link& link_;
  handler old_int_ = SIG_DFL;
  handler old_term_ = SIG_DFL;
  std::thread thread_;
};

}  // namespace troupe::detail
