// SPDX-License-Identifier: MIT
// Composer, instrument and client with one allocation failing, or several in a row, wherever that
// is: what cannot be made throws `std::bad_alloc`, and all else goes on. Each job that was accepted
// is run, and nothing leaks or hangs.

// Every frame is an allocation here.
#define TROUPE_POOL_FRAMES 0

#include <troupe/job.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <optional>
#include <utility>

#include <troupe/config.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/exec/sim_executor.hpp>

#include "../support/catch.hpp"

namespace {

// All of it on one thread: the simulation's.
long countdown = -1;  // allocations until some fail; negative: none does
long in_a_row = 0;    // how many fail then
bool failed = false;
long in_use = 0;

bool fails() noexcept {
  if (countdown < 0) return false;
  if (countdown > 0) {
    --countdown;
    return false;
  }
  failed = true;
  if (--in_a_row == 0) countdown = -1;
  return true;
}

TROUPE_NOINLINE void* allocate(std::size_t size, std::size_t alignment) {
  if (fails()) throw std::bad_alloc();
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

struct napping {
  using params = std::int64_t;  // milliseconds
  using result = std::int64_t;
  troupe::task<std::int64_t> operator()(std::int64_t ms) {
    co_await troupe::sleep_for(std::chrono::milliseconds(ms));
    co_return ms;
  }
};

struct world {
  troupe::sim_executor sim;
  troupe::memory_network net{sim};
  troupe::workspace scripts = with_napping();
  troupe::client jobs{net, scripts};

  static troupe::workspace with_napping() {
    troupe::workspace w;
    w.add<napping>();
    return w;
  }
};

/// Asks again where there was no memory for it. What the run itself may lack is had at last.
template <class F>
auto insist(world& w, F ask) {
  for (;;) {
    try {
      return w.sim.run(ask());
    } catch (const std::bad_alloc&) {
    }
  }
}

troupe::job_options patient() {
  troupe::job_options o;
  o.attempts = 100;
  o.retry = {.first = 1ms, .max = 10ms};
  o.losses = 100;
  o.lease = 1s;
  return o;
}

/// A job that a composer has to start, one whose lease is renewed, one that is cancelled while it
/// runs. True if they end as they should.
bool work(world& w) {
  troupe::job_options o = patient();
  o.idempotency_key = "late";
  o.delay = 1s;
  const troupe::job_id late = insist(w, [&] { return w.jobs.queue<napping>(o, 10); });
  o = patient();
  o.idempotency_key = "long";
  const troupe::job_id slow = insist(w, [&] { return w.jobs.queue<napping>(o, 3000); });
  o.idempotency_key = "unwanted";
  const troupe::job_id unwanted = insist(w, [&] { return w.jobs.queue<napping>(o, 100'000); });
  w.sim.advance(100ms);
  static_cast<void>(insist(w, [&] { return w.jobs.cancel(unwanted); }));
  const std::int64_t first = insist(w, [&] { return w.jobs.result<napping>(late); });
  const std::int64_t second = insist(w, [&] { return w.jobs.result<napping>(slow); });
  const auto third = insist(w, [&] { return w.jobs.completion(unwanted); });
  return first == 10 && second == 3000 && third.state == troupe::job_state::cancelled;
}

/// Nothing is asserted while allocations may fail: an assertion allocates, too.
void try_everything(long row) {
  constexpr long limit = 20'000;
  long k = 0;
  for (bool done = false; !done; ++k) {
    INFO("allocation " << k << " and " << row - 1 << " more");
    REQUIRE(k < limit);
    const long before = in_use;
    bool is_right = true;
    bool is_right_after = false;
    {
      world w;
      static_cast<void>(w.net.jobs());
      failed = false;
      in_a_row = row;
      countdown = k;
      try {
        troupe::composer c{w.net};
        troupe::instrument i{w.net, w.scripts, {.workers = 2, .name = "one"}};
        is_right = work(w);
      } catch (const std::bad_alloc&) {  // of what is made here
      }
      done = !failed;
      countdown = -1;
      troupe::composer c{w.net};
      troupe::instrument i{w.net, w.scripts, {.workers = 2, .name = "two"}};
      is_right_after = work(w);  // what was accepted before, or the same anew
    }
    CHECK(is_right);
    CHECK(is_right_after);
    if (k > 0) CHECK(in_use == before);  // the first round fills what lives as long as the program
  }
  std::printf("%ld in a row: %ld allocations\n", row, k - 1);
}

}  // namespace

TEST_CASE("jobs with an allocation failing", "[stress][allocation]") { try_everything(1); }

TEST_CASE("jobs with allocations failing in a row", "[stress][allocation]") { try_everything(20); }
