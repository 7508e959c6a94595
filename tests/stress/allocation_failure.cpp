// SPDX-License-Identifier: MIT
// Each operation of the broker with its first allocation failing, then its second, and so on, until
// none fails: it throws `std::bad_alloc` or `start_failed`, or succeeds all the same; nothing
// leaks, nothing hangs, and afterwards everything works.

// Every frame is an allocation here.
#define TROUPE_POOL_FRAMES 0

#include <troupe/broker/broker.hpp>

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <troupe/actor/context.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/task_scope.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/exec/sim_executor.hpp>

#include "../support/catch.hpp"

namespace {

// All of it on one thread: the simulation's.
long countdown = -1;  // allocations until one fails; negative: none does
bool failed = false;
long in_use = 0;

TROUPE_NOINLINE void* allocate(std::size_t size, std::size_t alignment) {
  if (countdown >= 0 && countdown-- == 0) {
    failed = true;
    throw std::bad_alloc();
  }
  const std::size_t rounded = (size + alignment - 1) / alignment * alignment;
  void* const memory = alignment <= __STDCPP_DEFAULT_NEW_ALIGNMENT__
                           ? std::malloc(size != 0 ? size : 1)
                           : std::aligned_alloc(alignment, rounded);
  if (memory == nullptr) throw std::bad_alloc();
  ++in_use;
  return memory;
}

TROUPE_NOINLINE void deallocate(void* memory) noexcept {
  if (memory == nullptr) return;
  --in_use;
  std::free(memory);
}

}  // namespace

void* operator new(std::size_t size) { return allocate(size, 1); }
void* operator new(std::size_t size, std::align_val_t a) {
  return allocate(size, static_cast<std::size_t>(a));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  try {
    return allocate(size, 1);
  } catch (...) {
    return nullptr;
  }
}
void operator delete(void* memory) noexcept { deallocate(memory); }
void operator delete(void* memory, std::size_t) noexcept { deallocate(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { deallocate(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { deallocate(memory); }

namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::task;

int living = 0;
// A member, so that an instance whose constructor throws is counted as well.
struct alive {
  alive() { ++living; }
  alive(const alive&) = delete;
  alive& operator=(const alive&) = delete;
  ~alive() { --living; }
};

struct worker {
  alive me;
  int plain(int n) { return n; }
  std::string text(const std::string& s) { return s + s; }
  task<int> later(int n) {
    co_await troupe::yield();
    co_return n;
  }
  task<> hold() { co_await troupe::sleep_for(1s); }
};

struct hooked {
  explicit hooked(troupe::context& c) : ctx(c), other(c.worker<worker>("other")) {}
  task<> on_start() {
    const int n = co_await other.call<&worker::plain>(1);
    static_cast<void>(n);
  }
  task<> on_stop() {
    const int n = co_await other.call<&worker::later>(1);
    static_cast<void>(n);
  }
  void before_call(const troupe::call_info&) {}
  void after_call(const troupe::call_info&) {}
  int plain(int n) { return n; }
  troupe::context& ctx;
  troupe::proxy<worker> other;
  alive me;
};

struct begun {
  explicit begun(troupe::context& c) : ctx(c) {
    ctx.spawn(run());
    ctx.every(1ms, [] {});
  }
  static task<> run() { co_await troupe::sleep_for(24h); }
  int plain(int n) { return n; }
  troupe::context& ctx;
  alive me;
};

/// Gives up with what it has begun, so that the failing start has something to wait for.
struct begun_in_vain {
  explicit begun_in_vain(troupe::context& c) {
    c.spawn(begun::run());
    throw std::runtime_error("in vain");
  }
  int plain(int n) { return n; }
  alive me;
};

struct interleaving {
  alive me;
  task<int> later(int n) {
    co_await troupe::sleep_for(1s);
    co_return n;
  }
  static constexpr troupe::actor_options options{.reentrancy = troupe::reentrancy::interleaved};
};

struct circular {
  explicit circular(troupe::context& c) : ctx(c) {}
  task<int> call_back() {
    auto self = ctx.self<circular>();
    co_return co_await self.call<&circular::plain>(1);
  }
  task<int> call_back_in_time() {
    auto self = ctx.self<circular>();
    co_return co_await self.call<&circular::plain>(1).within(1h);
  }
  int plain(int n) { return n; }
  static constexpr troupe::actor_options options{.reentrancy = troupe::reentrancy::none};
  troupe::context& ctx;
  alive me;
};

struct world {
  troupe::sim_executor sim;
  std::optional<troupe::broker> owner{std::in_place, troupe::broker_options{.on = &sim}};
  troupe::broker& broker = *owner;
  troupe::proxy<worker> p = broker.worker<worker>("p");
  troupe::proxy<worker> q = broker.worker<worker>("q");
};

task<> attempt(task<> operation, long k, std::exception_ptr& thrown) {
  countdown = k;
  try {
    co_await std::move(operation);
  } catch (...) {
    countdown = -1;
    thrown = std::current_exception();
  }
  countdown = -1;
}

/// True if the reason is a lack of memory, however deep.
bool is_lack_of_memory(const std::exception_ptr& e) {
  try {
    std::rethrow_exception(e);
  } catch (const std::bad_alloc&) {
    return true;
  } catch (const std::exception& x) {
    try {
      std::rethrow_if_nested(x);
    } catch (...) {
      return is_lack_of_memory(std::current_exception());
    }
    return false;
  }
}

task<> works(world& w) {
  const int n = co_await w.p.call<&worker::later>(3);
  const int m = co_await w.q.call<&worker::plain>(4).within(1h);
  CHECK(n + m == 7);
}

using operation = task<> (*)(world&);

/// `expected`: an error that the operation gives also with memory enough.
void try_everything(const char* name, operation prepare, operation op,
                    std::error_code expected = {}) {
  constexpr long limit = 2000;
  long k = 0;
  for (bool done = false; !done; ++k) {
    INFO(name << ", allocation " << k);
    REQUIRE(k < limit);
    const long before = in_use;
    {
      world w;
      w.sim.run(prepare(w));
      std::exception_ptr thrown;
      failed = false;
      w.sim.run(attempt(op(w), k, thrown));
      done = !failed;
      if (thrown) {
        bool accepted = failed && is_lack_of_memory(thrown);
        try {
          std::rethrow_exception(thrown);
        } catch (const std::system_error& e) {
          accepted = accepted || (expected && e.code() == expected);
        } catch (...) {
        }
        CHECK(accepted);
      } else {
        CHECK_FALSE((done && expected));
      }
      w.sim.run(works(w));
      w.sim.advance(10s);
      w.sim.run(works(w));
    }
    CHECK(living == 0);
    if (k > 0) CHECK(in_use == before);  // the first round fills what lives as long as the program
  }
  std::printf("%s: %ld allocations\n", name, k - 1);
}

task<> nothing(world&) { co_return; }
task<> make_both(world& w) {
  const int n = co_await w.p.call<&worker::plain>(1);
  const int m = co_await w.q.call<&worker::plain>(1);
  static_cast<void>(n + m);
}

task<> first_call(world& w) {
  auto fresh = w.broker.worker<worker>("a key that is too long to be kept in place");
  const int n = co_await fresh.call<&worker::plain>(1);
  CHECK(n == 1);
}
task<> first_call_with_hooks(world& w) {
  auto fresh = w.broker.worker<hooked>("h");
  const int n = co_await fresh.call<&hooked::plain>(1);
  CHECK(n == 1);
}
task<> first_call_that_begins(world& w) {
  auto fresh = w.broker.worker<begun>("b");
  const int n = co_await fresh.call<&begun::plain>(1);
  CHECK(n == 1);
}
task<> first_call_in_vain(world& w) {
  auto fresh = w.broker.worker<begun_in_vain>("v");
  const int n = co_await fresh.call<&begun_in_vain::plain>(1);
  static_cast<void>(n);
}
task<> idle_call(world& w) {
  const int n = co_await w.p.call<&worker::plain>(1);
  CHECK(n == 1);
}
task<> text_call(world& w) {
  const std::string s(100, 's');
  const std::string twice = co_await w.p.call<&worker::text>(s);
  CHECK(twice.size() == 200);
}
task<> coroutine_call(world& w) {
  const int n = co_await w.p.call<&worker::later>(2);
  CHECK(n == 2);
}
task<> hold_p(world& w) {
  w.broker.spawn([](troupe::proxy<worker> p) -> task<> { co_await p.call<&worker::hold>(); }(w.p));
  while (w.broker.worker_count() == 0) co_await troupe::yield();
}
task<> queued_call(world& w) {
  const std::string s(100, 's');
  const std::string twice = co_await w.p.call<&worker::text>(s);
  CHECK(twice.size() == 200);
  const int n = co_await w.p.call<&worker::later>(2);
  CHECK(n == 2);
}
task<> timed_call(world& w) {
  const int n = co_await w.p.call<&worker::later>(2).within(1h);
  CHECK(n == 2);
  const std::string twice = co_await w.p.call<&worker::text>(std::string(100, 's')).within(1h);
  CHECK(twice.size() == 200);
}
task<> late_timed_call(world& w) { co_await w.p.call<&worker::hold>().within(1ms); }
task<> tells(world& w) {
  w.p.tell<&worker::plain>(1);
  w.p.tell<&worker::text>(std::string(100, 's'));
  w.p.tell<&worker::later>(1);
  co_await troupe::yield();
}
task<> loads(world& w) {
  co_await w.broker.load<worker>("loaded");
  co_await w.broker.load<hooked>("loaded");
}
task<> make_more(world& w) {
  co_await make_both(w);
  co_await first_call_with_hooks(w);
  co_await first_call_that_begins(w);
}
task<> removes(world& w) {
  const bool a = co_await w.broker.remove<worker>("p");
  const bool b = co_await w.broker.remove<hooked>("h");
  const bool c = co_await w.broker.remove<begun>("b");
  CHECK((a && b && c));
}
task<> evicts(world& w) {
  w.broker.evict(w.p.id());
  w.broker.evict(w.broker.worker<hooked>("h").id());
  w.broker.evict(w.broker.worker<begun>("b").id());
  for (int i = 0; i < 20; ++i) co_await troupe::yield();
}
task<> terminates(world& w) { co_await w.broker.terminate(); }
task<> calls_at_once(world& w) {
  auto results = co_await troupe::when_all(w.p.call<&worker::plain>(1), w.q.call<&worker::later>(2),
                                           w.broker.load<worker>("x"));
  CHECK(std::get<1>(results) == 2);
}
task<> many_at_once(world& w) {
  std::vector<task<>> all;
  for (int i = 0; i < 5; ++i) all.push_back(coroutine_call(w));
  co_await troupe::when_all(std::move(all));
}
task<> scoped(world& w) {
  co_await troupe::with_scope([&w](troupe::task_scope& s) -> task<> {
    for (int i = 0; i < 3; ++i) s.spawn(coroutine_call(w));
    co_await coroutine_call(w);
  });
}
task<> spawns(world& w) {
  w.broker.spawn(coroutine_call(w));
  w.broker.spawn(coroutine_call(w));
  for (int i = 0; i < 20; ++i) co_await troupe::yield();
}
task<> make_circular(world& w) { co_await w.broker.load<circular>("c"); }
task<> deadlock(world& w) {
  const int n = co_await w.broker.worker<circular>("c").call<&circular::call_back>();
  static_cast<void>(n);
}
task<> deadlock_in_time(world& w) {
  const int n = co_await w.broker.worker<circular>("c").call<&circular::call_back_in_time>();
  static_cast<void>(n);
}
task<> begin_interleaved(world& w) {
  w.broker.spawn([](troupe::proxy<interleaving> p) -> task<> {
    const int n = co_await p.call<&interleaving::later>(1);
    static_cast<void>(n);
  }(w.broker.worker<interleaving>("i")));
  while (w.broker.worker_count() == 0) co_await troupe::yield();
}
task<> remove_interleaved(world& w) {
  const bool gone = co_await w.broker.remove<interleaving>("i");
  CHECK(gone);
}

}  // namespace

TEST_CASE("making a worker", "[stress][allocation]") {
  try_everything("first call", &nothing, &first_call);
  try_everything("first call with hooks", &nothing, &first_call_with_hooks);
  try_everything("first call that begins something", &nothing, &first_call_that_begins);
  try_everything("first call of what begins something and fails", &nothing, &first_call_in_vain,
                 errc::start_failed);
  try_everything("load", &nothing, &loads);
}

TEST_CASE("calling a worker", "[stress][allocation]") {
  try_everything("idle call", &make_both, &idle_call);
  try_everything("call with a result that allocates", &make_both, &text_call);
  try_everything("coroutine call", &make_both, &coroutine_call);
  try_everything("queued call", &hold_p, &queued_call);
  try_everything("timed call", &make_both, &timed_call);
  try_everything("timed call in a queue", &hold_p, &timed_call);
  try_everything("timed call that is late", &make_both, &late_timed_call, errc::timed_out);
  try_everything("tells", &make_both, &tells);
  try_everything("tells in a queue", &hold_p, &tells);
}

TEST_CASE("closing a worker", "[stress][allocation]") {
  try_everything("remove", &make_more, &removes);
  try_everything("evict", &make_more, &evicts);
  try_everything("terminate", &make_more, &terminates);
  try_everything("remove of an interleaved worker", &begin_interleaved, &remove_interleaved);
}

TEST_CASE("running several at once", "[stress][allocation]") {
  try_everything("when_all of calls", &make_both, &calls_at_once);
  try_everything("when_all of many", &make_both, &many_at_once);
  try_everything("with_scope", &make_both, &scoped);
  try_everything("spawn", &make_both, &spawns);
}

TEST_CASE("naming a deadlock", "[stress][allocation]") {
  try_everything("call back", &make_circular, &deadlock, errc::deadlock);
  try_everything("call back in time", &make_circular, &deadlock_in_time, errc::deadlock);
}

TEST_CASE("the end of a broker", "[stress][allocation]") {
  failed = true;
  for (long k = 0; failed; ++k) {
    INFO("allocation " << k);
    {
      world w;
      w.sim.run(make_more(w));
      failed = false;
      countdown = k;
      w.owner.reset();
      countdown = -1;
    }
    CHECK(living == 0);
  }
}
