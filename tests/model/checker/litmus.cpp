// SPDX-License-Identifier: MIT

// The checker itself: which outcomes the memory model allows is known for these small programs, and
// what is wrong in others has to be found.

#include <model/checker/checker.hpp>

#include <troupe/sync/atomic.hpp>
#include <troupe/sync/futex.hpp>
#include <troupe/sync/parker.hpp>

#include "../../support/catch.hpp"

#include <memory>
#include <set>

namespace {

namespace model = troupe::model;
namespace order = troupe::detail::order;
using troupe::detail::atomic;
using outcomes = std::set<std::int64_t>;

constexpr model::limits everything{.preemptions = 100, .stale_reads = 100};

// The orders under test are parameters of these programs, which are plain functions.
std::memory_order for_store, for_load;

outcomes of(void (*program)(), std::memory_order stores, std::memory_order loads) {
  for_store = stores;
  for_load = loads;
  const model::verdict v = model::search(program, everything);
  CHECK(v.complete);
  CHECK(v.failure == "");
  return v.outcomes;
}

void store_buffering() {
  atomic<int> x{0}, y{0};
  int a = 0, b = 0;
  model::run(
      [&] {
        x.store(1, for_store);
        a = y.load(for_load);
      },
      [&] {
        y.store(1, for_store);
        b = x.load(for_load);
      });
  model::note(10 * a + b);
}

void message_passing() {
  atomic<int> data{0}, ready{0};
  int a = 0, b = 0;
  model::run(
      [&] {
        data.store(1, order::relaxed);
        ready.store(1, for_store);
      },
      [&] {
        a = ready.load(for_load);
        b = data.load(order::relaxed);
      });
  model::note(10 * a + b);
}

void load_buffering() {
  atomic<int> x{0}, y{0};
  int a = 0, b = 0;
  model::run(
      [&] {
        a = x.load(for_load);
        y.store(1, for_store);
      },
      [&] {
        b = y.load(for_load);
        x.store(1, for_store);
      });
  model::note(10 * a + b);
}

void independent_readers() {
  atomic<int> x{0}, y{0};
  int a = 0, b = 0, c = 0, d = 0;
  model::run([&] { x.store(1, for_store); }, [&] { y.store(1, for_store); },
             [&] {
               a = x.load(for_load);
               b = y.load(for_load);
             },
             [&] {
               c = y.load(for_load);
               d = x.load(for_load);
             });
  model::note(1000 * a + 100 * b + 10 * c + d);
}

void write_to_read_causality() {
  atomic<int> x{0}, y{0};
  int a = 0, b = 0, c = 0;
  model::run([&] { x.store(1, for_store); },
             [&] {
               a = x.load(for_load);
               y.store(a, for_store);
             },
             [&] {
               b = y.load(for_load);
               c = x.load(for_load);
             });
  model::note(100 * a + 10 * b + c);
}

void coherence_of_reads() {
  atomic<int> x{0};
  int a = 0, b = 0;
  model::run(
      [&] {
        x.store(1, for_store);
        x.store(2, for_store);
      },
      [&] {
        a = x.load(for_load);
        b = x.load(for_load);
      });
  model::note(10 * a + b);
}

/// A relaxed read-modify-write between the release and the acquire keeps the release sequence.
void release_sequence() {
  atomic<int> data{0}, word{0};
  int a = 0, b = 0;
  model::run(
      [&] {
        data.store(1, order::relaxed);
        word.store(1, for_store);
      },
      [&] { word.fetch_add(1, order::relaxed); },
      [&] {
        a = word.load(for_load);
        b = data.load(order::relaxed);
      });
  model::note(10 * a + b);
}

/// A relaxed store by the same thread ends it (since C++20).
void release_sequence_ended() {
  atomic<int> data{0}, word{0};
  int a = 0, b = 0;
  model::run(
      [&] {
        data.store(1, order::relaxed);
        word.store(1, for_store);
        word.store(2, order::relaxed);
      },
      [&] {
        a = word.load(for_load);
        b = data.load(order::relaxed);
      });
  model::note(10 * a + b);
}

void increments() {
  atomic<int> x{0};
  model::run([&] { x.fetch_add(1, for_store); }, [&] { x.fetch_add(1, for_store); },
             [&] { x.fetch_add(1, for_store); });
  model::note(x.load(order::relaxed));
}

}  // namespace

TEST_CASE("store buffering: only seq_cst forbids that both read the old value", "[litmus]") {
  CHECK(of(store_buffering, order::relaxed, order::relaxed) == outcomes{0, 1, 10, 11});
  CHECK(of(store_buffering, order::release, order::acquire) == outcomes{0, 1, 10, 11});
  CHECK(of(store_buffering, order::seq_cst, order::seq_cst) == outcomes{1, 10, 11});
  CHECK(of(store_buffering, order::seq_cst, order::acquire) == outcomes{0, 1, 10, 11});
  CHECK(of(store_buffering, order::release, order::seq_cst) == outcomes{0, 1, 10, 11});
}

TEST_CASE("message passing needs a release and an acquire", "[litmus]") {
  CHECK(of(message_passing, order::relaxed, order::relaxed) == outcomes{0, 1, 10, 11});
  CHECK(of(message_passing, order::release, order::relaxed) == outcomes{0, 1, 10, 11});
  CHECK(of(message_passing, order::relaxed, order::acquire) == outcomes{0, 1, 10, 11});
  CHECK(of(message_passing, order::release, order::acquire) == outcomes{0, 1, 11});
  CHECK(of(message_passing, order::seq_cst, order::seq_cst) == outcomes{0, 1, 11});
}

TEST_CASE("load buffering is not explored: both reading the other's later store", "[litmus]") {
  CHECK(of(load_buffering, order::relaxed, order::relaxed) == outcomes{0, 1, 10});
  CHECK(of(load_buffering, order::release, order::acquire) == outcomes{0, 1, 10});
}

TEST_CASE("independent readers agree on the order of two writes under seq_cst only", "[litmus]") {
  CHECK(of(independent_readers, order::relaxed, order::relaxed).count(1010) == 1);
  CHECK(of(independent_readers, order::release, order::acquire).count(1010) == 1);
  const outcomes strong = of(independent_readers, order::seq_cst, order::seq_cst);
  CHECK(strong.count(1010) == 0);
  CHECK(strong.size() == 15);
}

TEST_CASE("causality through a third thread needs both halves", "[litmus]") {
  CHECK(of(write_to_read_causality, order::relaxed, order::relaxed).count(110) == 1);
  CHECK(of(write_to_read_causality, order::release, order::relaxed).count(110) == 1);
  CHECK(of(write_to_read_causality, order::relaxed, order::acquire).count(110) == 1);
  CHECK(of(write_to_read_causality, order::release, order::acquire).count(110) == 0);
}

TEST_CASE("two reads of one object never go back, whatever the order", "[litmus]") {
  const outcomes allowed{0, 1, 2, 11, 12, 22};
  CHECK(of(coherence_of_reads, order::relaxed, order::relaxed) == allowed);
  CHECK(of(coherence_of_reads, order::seq_cst, order::seq_cst) == allowed);
}

TEST_CASE("a release sequence goes on through read-modify-writes alone", "[litmus]") {
  const outcomes strong = of(release_sequence, order::release, order::acquire);
  CHECK(strong.count(20) == 0);
  CHECK(strong.count(21) == 1);
  CHECK(of(release_sequence, order::relaxed, order::acquire).count(20) == 1);
  CHECK(of(release_sequence_ended, order::release, order::acquire).count(20) == 1);
  CHECK(of(release_sequence_ended, order::release, order::acquire).count(10) == 0);
}

TEST_CASE("read-modify-writes read the newest store", "[litmus]") {
  CHECK(of(increments, order::relaxed, order::relaxed) == outcomes{3});
}

// --- what must be found --------------------------------------------------------------------------

namespace {

std::string failure_of(void (*program)(), model::limits l = {}) {
  const model::verdict v = model::search(program, l);
  if (!v.failed()) return "";
  // It is the same failure again from its own description.
  const model::verdict again = model::replay(program, l, v.script);
  CHECK(again.failure == v.failure);
  CHECK(again.interleaving != "");
  return v.failure;
}

bool says(const std::string& failure, const char* what) {
  return failure.find(what) != std::string::npos;
}

void race() {
  model::var<int> data;
  atomic<bool> ready{false};
  model::run(
      [&] {
        data.set(1);
        ready.store(true, order::relaxed);
      },
      [&] {
        const bool is_ready = ready.load(order::acquire);
        if (is_ready) model::check(data.get() == 1, "half a message");
      });
}

void no_race() {
  model::var<int> data;
  atomic<bool> ready{false};
  model::run(
      [&] {
        data.set(1);
        ready.store(true, order::release);
      },
      [&] {
        while (!ready.load(order::acquire)) troupe::detail::cpu_relax();
        model::check(data.get() == 1, "half a message");
      });
}

void lost_wake_up() {
  atomic<std::uint32_t> word{0};
  atomic<bool> sleeps{false};
  model::run(
      [&] {
        if (word.load(order::relaxed) == 0) {
          sleeps.store(true, order::relaxed);
          troupe::futex_wait(word, 0);
        }
      },
      [&] {
        const bool must_wake = sleeps.load(order::relaxed);
        word.store(1, order::relaxed);
        if (must_wake) troupe::futex_wake_one(&word);
      });
}

void spins_for_ever() {
  atomic<int> word{0};
  model::run([&] {
    while (word.load(order::relaxed) == 0) troupe::detail::cpu_relax();
  });
}

void use_after_end() {
  auto word = std::make_unique<atomic<int>>(0);
  atomic<int>* const raw = word.get();
  model::run([&] { word.reset(); }, [&] { raw->store(1, order::relaxed); });
}

void unordered_end() {
  auto* const word = new atomic<int>(0);
  atomic<bool> done{false};
  model::run(
      [&] {
        word->store(1, order::relaxed);
        done.store(true, order::relaxed);
      },
      [&] {
        while (!done.load(order::relaxed)) troupe::detail::cpu_relax();
        delete word;
      });
}

void unordered_begin() {
  atomic<atomic<int>*> where{nullptr};
  atomic<int>* made = nullptr;
  model::run(
      [&] {
        made = new atomic<int>(7);
        where.store(made, order::relaxed);
      },
      [&] {
        atomic<int>* const seen = where.load(order::acquire);
        if (seen != nullptr) model::note(seen->load(order::relaxed));
      });
  delete made;
}

void null_pointer() {
  atomic<int*> where{nullptr};
  int number = 0;
  model::run([&] { where.store(&number, order::relaxed); },
             [&] { *static_cast<volatile int*>(where.load(order::relaxed)) = 1; });
}

void broken_assertion() {
  atomic<int> number{0};
  model::run([&] { number.store(1, order::relaxed); },
             [&] { TROUPE_ASSERT(number.load(order::relaxed) == 0, "of this test: expected"); });
}

void timed_wait() {
  troupe::parker p;
  bool taken = false;
  model::run(
      [&] {
        taken = p.park_until(std::chrono::steady_clock::time_point() + std::chrono::seconds(1));
      },
      [&] { p.unpark(); });
  model::note(taken);
}

}  // namespace

TEST_CASE("what is wrong is found, and found again from its description", "[checker]") {
  CHECK(says(failure_of(race), "data race"));
  CHECK(failure_of(no_race) == "");
  CHECK(says(failure_of(lost_wake_up), "deadlock"));
  CHECK(says(failure_of(spins_for_ever), "livelock"));
  CHECK(says(failure_of(use_after_end), "used after its"));
  CHECK(says(failure_of(unordered_end), "destroyed while"));
  CHECK(says(failure_of(unordered_begin), "before its construction"));
  CHECK(says(failure_of(null_pointer), "memory fault"));
  CHECK(says(failure_of(broken_assertion), "abort"));
}

TEST_CASE("random schedules find it too", "[checker]") {
  const model::verdict v = model::draw(lost_wake_up, {}, 1, 10'000);
  CHECK(says(v.failure, "deadlock"));
  CHECK(says(model::replay(lost_wake_up, {}, v.script).failure, "deadlock"));
  CHECK_FALSE(model::draw(no_race, {}, 1, 10'000).failed());
}

TEST_CASE("a limited wait ends either way", "[checker]") {
  const model::verdict v = model::search(timed_wait, {});
  CHECK(v.failure == "");
  CHECK(v.outcomes == outcomes{0, 1});
}
