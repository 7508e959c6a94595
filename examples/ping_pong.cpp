// SPDX-License-Identifier: MIT
// Two classes that call each other. Where the body of one calls a method of the other, the methods
// are listed first; the classes may still be incomplete there.
#include <iostream>
#include <troupe.hpp>

struct ping;
struct pong;
TROUPE_METHODS(ping, play, score)
TROUPE_METHODS(pong, hit)

struct pong {
  explicit pong(troupe::context& ctx) : opponent(ctx.worker<ping>()) {}

  // Every thousandth ball is missed. `ping` is in the middle of `play` then; this call belongs to
  // the same chain of calls, so it is let in instead of waiting for `play` to end.
  troupe::task<bool> hit(int ball);

  troupe::proxy<ping> opponent;
};

struct ping {
  explicit ping(troupe::context& ctx) : opponent(ctx.worker<pong>()) {}

  troupe::task<int> play(int balls) {
    int returned = 0;
    for (int ball = 1; ball <= balls; ++ball) {
      const bool hit = co_await opponent->hit(ball);
      if (hit) ++returned;
    }
    co_return returned;
  }
  void score() { ++points; }

  troupe::proxy<pong> opponent;
  int points = 0;
};

troupe::task<bool> pong::hit(int ball) {
  const bool missed = ball % 1000 == 0;
  if (missed) co_await opponent->score();
  co_return !missed;
}

troupe::task<> match(troupe::broker& broker) {
  auto player = broker.worker<ping>();
  std::cout << "balls returned: " << co_await player->play(100'000) << '\n';
}

int main() {
  troupe::broker broker;
  broker.run(match(broker));
}
