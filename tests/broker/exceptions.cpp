// SPDX-License-Identifier: MIT
// Exceptions out of whatever the user writes: arguments, results, methods. The worker goes on.

#include <troupe/broker/broker.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>

#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/exec/sim_executor.hpp>

#include "../support/catch.hpp"
#include "support.hpp"

namespace exceptions_tests {
namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::task;
using namespace troupe::test;

int copies_left = 0;
int moves_left = 0;
int living = 0;

// Throws when it has been copied or moved often enough.
struct touchy {
  touchy() { ++living; }
  touchy(const touchy&) {
    if (copies_left-- == 0) throw std::runtime_error("copy");
    ++living;
  }
  touchy(touchy&&) noexcept(false) {
    if (moves_left-- == 0) throw std::runtime_error("move");
    ++living;
  }
  ~touchy() { --living; }
};

struct handler {
  int by_value(touchy) { return 1; }
  int by_reference(const touchy&) { return 2; }
  task<int> later(touchy) {
    co_await troupe::yield();
    co_return 3;
  }
  task<int> later_by_reference(const touchy& t) {
    static_cast<void>(t);
    co_await troupe::yield();
    co_return 4;
  }
  touchy give() { return kept; }
  task<touchy> give_later() {
    co_await troupe::yield();
    co_return kept;
  }
  int works() { return 5; }
  touchy kept;
};

struct fixture {
  fixture() {
    copies_left = moves_left = 1'000'000;
    REQUIRE(troupe::sync_wait(p.call<&handler::works>()) == 5);
  }
  dead_letters dead;
  troupe::sim_executor sim;
  troupe::broker broker{{.on = &sim, .on_dead_letter = dead.collector()}};
  troupe::proxy<handler> p = broker.worker<handler>();
};

task<int> pass_value(troupe::proxy<handler> p, touchy& t) {
  co_return co_await p.call<&handler::by_value>(t);
}
task<int> pass_rvalue(troupe::proxy<handler> p, touchy& t) {
  co_return co_await p.call<&handler::by_value>(std::move(t));
}
task<int> pass_reference(troupe::proxy<handler> p, touchy& t) {
  co_return co_await p.call<&handler::by_reference>(t);
}
task<int> pass_later(troupe::proxy<handler> p, touchy& t) {
  co_return co_await p.call<&handler::later>(t);
}
task<int> pass_later_by_reference(troupe::proxy<handler> p, touchy& t) {
  co_return co_await p.call<&handler::later_by_reference>(t);
}
task<int> pass_in_time(troupe::proxy<handler> p, touchy& t) {
  co_return co_await p.call<&handler::later>(t).within(1h);
}
task<int> pass_plain_in_time(troupe::proxy<handler> p, touchy& t) {
  co_return co_await p.call<&handler::by_value>(std::move(t)).within(1h);
}
task<int> take(troupe::proxy<handler> p, touchy&) {
  const touchy got = co_await p.call<&handler::give>();
  co_return 6;
}
task<int> take_later(troupe::proxy<handler> p, touchy&) {
  const touchy got = co_await p.call<&handler::give_later>();
  co_return 7;
}
task<int> take_in_time(troupe::proxy<handler> p, touchy&) {
  const touchy got = co_await p.call<&handler::give_later>().within(1h);
  co_return 8;
}
task<int> tell(troupe::proxy<handler> p, touchy& t) {
  const bool queued = p.tell<&handler::by_value>(t);
  co_await troupe::yield();
  co_return queued ? 9 : -1;
}
task<int> tell_later(troupe::proxy<handler> p, touchy& t) {
  const bool queued = p.tell<&handler::later>(t);
  co_await troupe::yield();
  co_return queued ? 9 : -1;
}

using way = task<int> (*)(troupe::proxy<handler>, touchy&);
constexpr way ways[] = {
    &pass_value,   &pass_rvalue,        &pass_reference, &pass_later, &pass_later_by_reference,
    &pass_in_time, &pass_plain_in_time, &take,           &take_later, &take_in_time,
    &tell,         &tell_later};

}  // namespace

TEST_CASE("an argument or result that throws when copied or moved, at every step",
          "[broker][exceptions]") {
  for (const way w : ways) {
    INFO("way " << (&w - ways));
    for (const bool copying : {true, false}) {
      bool done = false;
      for (int k = 0; k < 20 && !done; ++k) {
        INFO((copying ? "copy " : "move ") << k);
        {
          fixture f;
          touchy t;
          (copying ? copies_left : moves_left) = k;
          const auto thrown = f.sim.run(error_of(w(f.p, t)));
          f.sim.advance(1s);
          copies_left = moves_left = 1'000'000;
          if (thrown) {
            REQUIRE(what_of(thrown) == (copying ? "copy" : "move"));
          } else {
            done = f.dead.count() == 0;
            if (!done) REQUIRE(f.dead.at(0).error == (copying ? "copy" : "move"));
          }
          REQUIRE(troupe::sync_wait(f.p.call<&handler::works>()) == 5);
        }
        REQUIRE(living == 0);
      }
      REQUIRE(done);
    }
  }
}

}  // namespace exceptions_tests
