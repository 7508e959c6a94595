// SPDX-License-Identifier: MIT

// What does a call cost that has to wait, where many others do? Per call of a thousand that wait
// for one worker, against ten.

#include "support/measure.hpp"

#include <semaphore>
#include <string>
#include <utility>

#include <troupe.hpp>

using namespace std::chrono_literals;

namespace {

using gate = troupe::async_semaphore;

}  // namespace
template <>
inline constexpr bool troupe::enable_sendable<troupe::async_semaphore*> = true;
namespace {

struct busy : bench::counter {
  troupe::task<> hold(gate* opened) { co_await opened->acquire(); }
  troupe::task<int> add_later(int a) { co_return add(a); }
};

/// Calls on from within a turn of its own.
struct caller {
  explicit caller(troupe::context& c) : ctx(c) {}
  troupe::task<int> add() {
    const auto to = ctx.worker<busy>();
    co_return co_await to.call<&busy::add>(1);
  }
  troupe::context& ctx;
};
struct interleaved_caller : caller {
  using caller::caller;
  static constexpr troupe::actor_options options{.reentrancy = troupe::reentrancy::interleaved};
};

using call = troupe::task<> (*)(troupe::broker&, std::size_t);

troupe::task<> plain(troupe::broker& b, std::size_t) {
  const auto p = b.worker<busy>();
  co_await p.call<&busy::add>(1);
}
troupe::task<> coroutine(troupe::broker& b, std::size_t) {
  const auto p = b.worker<busy>();
  co_await p.call<&busy::add_later>(1);
}
troupe::task<> timed(troupe::broker& b, std::size_t) {
  const auto p = b.worker<busy>();
  co_await p.call<&busy::add>(1).within(1h);
}
troupe::task<> from_a_turn(troupe::broker& b, std::size_t i) {
  const auto p = b.worker<caller>(std::to_string(i));
  co_await p.call<&caller::add>();
}
troupe::task<> from_one_interleaved(troupe::broker& b, std::size_t) {
  const auto p = b.worker<interleaved_caller>();
  co_await p.call<&interleaved_caller::add>();
}

/// Some rounds: the worker is held while `pending` calls are made, and then not.
troupe::task<> rounds(troupe::broker& b, std::size_t count, std::size_t pending, call make) {
  for (std::size_t r = 0; r < count; ++r) {
    gate opened(0);
    troupe::task_scope scope;
    scope.spawn([](troupe::broker& broker, gate& g) -> troupe::task<> {
      const auto p = broker.worker<busy>();
      co_await p.call<&busy::hold>(&g);
    }(b, opened));
    for (std::size_t i = 0; i < pending; ++i) scope.spawn(make(b, i));
    co_await troupe::yield();
    opened.release();
    co_await scope.join();
  }
}

/// All on the pool's one thread: waking others is not the question.
void on_the_pool(troupe::broker& b, troupe::task<> t) {
  std::binary_semaphore ended(0);
  b.spawn([](troupe::task<> steps, std::binary_semaphore& s) -> troupe::task<> {
    co_await std::move(steps);
    s.release();
  }(std::move(t), ended));
  ended.acquire();
}

/// Nanoseconds of a round, less those of one without calls, for each of its calls.
double ns_per_call(troupe::broker& b, std::size_t pending, call make) {
  constexpr std::size_t calls = 20'000;
  const std::size_t count = calls / pending;
  const auto run = [&](std::size_t each) {
    return bench::ns_per_op(
        count, [&](std::size_t n) { on_the_pool(b, rounds(b, n, each, make)); }, 15);
  };
  return (run(pending) - run(0)) / static_cast<double>(pending);
}

void compare(const char* what, call make) {
  troupe::broker b({.threads = 1});
  static_cast<void>(ns_per_call(b, 1000, make));  // workers are made, memory is there
  const double ten = ns_per_call(b, 10, make);
  const double thousand = ns_per_call(b, 1000, make);
  std::printf("%-58s %10.1f ns where 10 wait\n", what, ten);
  bench::row("", thousand, ten, "that, where 1000 wait", 2);
}

}  // namespace

int main() {
  compare("call that waits, plain method", &plain);
  compare("call that waits, coroutine method", &coroutine);
  compare("call that waits, with a time limit", &timed);
  compare("call that waits, from a turn of each caller's own worker", &from_a_turn);
  compare("call that waits, from turns of one interleaved worker", &from_one_interleaved);
}
