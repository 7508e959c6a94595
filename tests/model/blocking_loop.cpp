// SPDX-License-Identifier: MIT
// What others post to a blocked thread is run by it, in order, and the loop may go with the last.

#include <model/checker/checker.hpp>

#include <troupe/coro/blocking_loop.hpp>

#include <memory>

namespace {

namespace model = troupe::model;
using troupe::detail::blocking_loop;

/// Runs once; the last of them ends the loop.
class step final : public troupe::runnable {
public:
  step() noexcept : runnable(&step::run_step) {}

  model::var<int> payload{0};
  int* left = nullptr;
  bool* done = nullptr;
  step* must_be_first = nullptr;
  bool ran = false;

private:
  static void run_step(runnable& r) noexcept {
    step& self = static_cast<step&>(r);
    model::check(self.payload.get() == 1, "half of what was posted");
    model::check(!self.ran, "run twice");
    model::check(self.must_be_first == nullptr || self.must_be_first->ran, "out of order");
    self.ran = true;
    if (--*self.left == 0) *self.done = true;
  }
};

/// What the loop begins with.
class beginning final : public troupe::runnable {
public:
  beginning() noexcept : runnable(&beginning::do_nothing) {}

private:
  static void do_nothing(runnable&) noexcept {}
};

struct world {
  explicit world(int count) : left(count) {
    for (step& s : steps) {
      s.left = &left;
      s.done = &done;
    }
  }
  void post(blocking_loop& loop, int i) {
    steps[i].payload.set(1);
    loop.post(steps[i]);
  }

  beginning nothing;
  step steps[2];
  int left;
  bool done = false;
};

void one_poster() {
  world w(2);
  w.steps[1].must_be_first = &w.steps[0];
  auto loop = std::make_unique<blocking_loop>(nullptr);
  blocking_loop& shared = *loop;
  model::run(
      [&] {
        w.post(shared, 0);
        w.post(shared, 1);
      },
      [&] {
        loop->run_until(w.nothing, w.done);
        loop.reset();
      });
}

void two_posters() {
  world w(2);
  auto loop = std::make_unique<blocking_loop>(nullptr);
  blocking_loop& shared = *loop;
  model::run([&] { w.post(shared, 0); }, [&] { w.post(shared, 1); },
             [&] {
               loop->run_until(w.nothing, w.done);
               loop.reset();
             });
}

const model::scenario all[] = {
    {"blocking_loop.one_poster", one_poster, {.preemptions = 3, .executions = 400'000}},
    {"blocking_loop.two_posters", two_posters, {.preemptions = 2, .executions = 400'000}}};

}  // namespace
