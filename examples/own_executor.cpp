// SPDX-License-Identifier: MIT
// Workers on a loop of your own, here Boost.Asio's: handlers of Asio and methods of workers run on
// one thread, which is the one that waits in `broker.run`.
#include <utility>  // Boost 1.74 forgets it

#include <atomic>
#include <boost/asio.hpp>
#include <chrono>
#include <iostream>
#include <thread>
#include <troupe.hpp>

namespace asio = boost::asio;
using namespace std::chrono_literals;

class asio_executor final : public troupe::executor {
public:
  // The loop outlives this object.
  explicit asio_executor(asio::io_context& io)
      : io_(io), work_(asio::make_work_guard(io)), timer_(io) {
    bind_thread();
  }
  ~asio_executor() override { unbind_thread(); }

  void post(troupe::runnable& r) noexcept override {
    asio::post(io_, [this, &r] { run_here(r); });
  }
  troupe::time_point now() const noexcept override { return std::chrono::steady_clock::now(); }
  std::uint64_t random() noexcept override { return troupe::mix64(numbers_.fetch_add(1)); }

  // May come from any thread, and Asio's timer belongs to its loop: ask there what is due.
  void wake_at(troupe::time_point) noexcept override {
    asio::post(io_, [this] { fire(); });
  }
  void drive(troupe::waiter& w) noexcept override {
    while (!w.done()) io_.run_one();
  }
  bool driven_by_waiting() const noexcept override { return true; }

private:
  void fire() {
    const troupe::time_point next = fire_timers();
    if (next == troupe::time_point::max()) return;
    timer_.expires_at(next);  // replaces what it waited for
    timer_.async_wait([this](const boost::system::error_code& e) {
      if (!e) fire();
    });
  }

  asio::io_context& io_;
  asio::executor_work_guard<asio::io_context::executor_type> work_;  // run_one waits for work
  asio::steady_timer timer_;
  std::atomic<std::uint64_t> numbers_{1};
};

struct guest_book {
  int sign() { return ++entries; }
  std::thread::id where() const { return std::this_thread::get_id(); }
  int entries = 0;
};
TROUPE_METHODS(guest_book, sign, where)

troupe::task<> work(troupe::broker& broker) {
  auto book = broker.worker<guest_book>();
  co_await troupe::sleep_for(50ms);  // meanwhile Asio's handler runs
  std::cout << "entries: " << co_await book->sign() << '\n';
  const std::thread::id there = co_await book->where();
  std::cout << "one thread: " << (there == std::this_thread::get_id() ? "yes" : "no") << '\n';
}

int main() {
  asio::io_context io;
  asio_executor loop(io);
  troupe::broker broker({.on = &loop});
  asio::steady_timer soon(io, 1ms);
  soon.async_wait([&](auto) { broker.worker<guest_book>().tell<&guest_book::sign>(); });
  broker.run(work(broker));
}
