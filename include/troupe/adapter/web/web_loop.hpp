// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A loop of Asio with a thread of its own, as an executor; and its operations, awaited.
///
/// Layer: adapter.

#include <utility>  // Boost 1.74 forgets it

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <thread>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/system/error_code.hpp>

#include <troupe/base/hash.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/frame.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// Goes after the executor: whose destructor joins threads that may still be inside `post`.
struct web_loop_context {
  boost::asio::io_context io_{1};
};

/// What belongs to a loop is touched by its thread alone, so connections need no locks.
///
/// Destroyed when nothing is posted to it any more, and all its connections have ended.
class web_loop final : private web_loop_context, public executor {
public:
  web_loop()
      : timer_(io_), work_(boost::asio::make_work_guard(io_)), thread_([this] { io_.run(); }) {}
  web_loop(const web_loop&) = delete;
  web_loop& operator=(const web_loop&) = delete;
  ~web_loop() override { finish(); }

  /// Runs what is there to run, and ends the thread. Nothing is asked of the loop any more.
  void finish() noexcept {
    if (!thread_.joinable()) return;
    boost::asio::post(io_, [this] { timer_.cancel(); });
    work_.reset();
    thread_.join();
  }

  boost::asio::io_context& io() noexcept { return io_; }

  void post(runnable& r) noexcept override {
    boost::asio::post(io_, [this, &r] { run_here(r); });
  }
  time_point now() const noexcept override { return steady_now(); }
  std::uint64_t random() noexcept override { return mix64(numbers_.fetch_add(1, order::relaxed)); }
  void wake_at(time_point) noexcept override {
    boost::asio::post(io_, [this] { fire(); });  // the timer is the thread's own
  }
  bool serial() const noexcept override { return true; }

  /// Goes on with what has waited for an operation. On the loop's thread, from its handler.
  void go_on(runnable& r) noexcept { run_here(r); }

private:
  void fire() {
    const time_point next = fire_timers();
    if (next == time_point::max()) return;
    timer_.expires_at(next);  // replaces what it waited for
    timer_.async_wait([this](const boost::system::error_code& e) {
      if (!e) fire();
    });
  }

  boost::asio::steady_timer timer_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  atomic<std::uint64_t> numbers_{1};
  std::thread thread_;
};

/// What an operation of Asio has come to.
struct io_result {
  boost::system::error_code error;
  std::size_t size = 0;

  explicit operator bool() const noexcept { return !error; }
};

/// An operation of Asio, to be awaited by a coroutine at home on the loop of its object: `begin` is
/// called with the handler.
template <class Begin>
class io_operation {
public:
  explicit io_operation(Begin b) noexcept : begin_(std::move(b)) {}

  class awaiter {
  public:
    awaiter(Begin b, frame& f) noexcept : begin_(std::move(b)), waiting_(f) {}
    awaiter(const awaiter&) = delete;
    awaiter& operator=(const awaiter&) = delete;

    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<>) { suspend(*this); }
    io_result await_resume() noexcept { return result_; }

  private:
    /// Its handler is called later, by the loop: never from within the initiation.
    TROUPE_NOINLINE static void suspend(awaiter& self) {
      bool* const flag = std::exchange(self.waiting_.completed_inline, nullptr);
      try {
        self.begin_(handler{self});
      } catch (...) {
        self.waiting_.completed_inline = flag;
        throw;
      }
    }

    struct handler {
      awaiter& self;
      void operator()(const boost::system::error_code& e, std::size_t n = 0) {
        self.result_.error = e;
        self.result_.size = n;
        frame& f = self.waiting_;
        static_cast<web_loop&>(f.where->base()).go_on(f);
      }
    };

    Begin begin_;
    frame& waiting_;
    io_result result_;
  };

  awaiter await_by(frame& f) && noexcept { return awaiter(std::move(begin_), f); }

private:
  Begin begin_;
};

}  // namespace troupe::detail
