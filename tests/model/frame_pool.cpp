// SPDX-License-Identifier: MIT
// A batch of blocks that one thread gives away and another takes is the other's alone.

#include <model/checker/checker.hpp>

#include <troupe/coro/frame_pool.hpp>

namespace {

namespace model = troupe::model;
using troupe::detail::frame_depot;
using troupe::detail::free_block;

struct batch {
  free_block block{nullptr, nullptr};  // first: a batch is known by its first block
  model::var<int> used{0};
};

batch* batch_of(free_block* b) { return reinterpret_cast<batch*>(b); }

void changes_hands() {
  frame_depot& depot = frame_depot::instance();
  model::keep_static(&depot, sizeof depot);
  batch batches[2];
  constexpr std::size_t index = 3;
  const auto swap = [&](int i) {
    batches[i].used.set(1);
    depot.put(index, &batches[i].block);
    if (free_block* const taken = depot.take(index)) {
      batch_of(taken)->used.set(2);
      depot.put(index, taken);
    }
  };
  model::run([&] { swap(0); }, [&] { swap(1); });
  int left = 0;
  while (free_block* const taken = depot.take(index)) {
    model::check(batch_of(taken)->used.get() == 2 || batch_of(taken)->used.get() == 1, "lost");
    ++left;
  }
  model::check(left == 2, "a batch was lost, or is there twice");
}

const model::scenario all[] = {{"frame_pool.changes_hands", changes_hands, {.preemptions = 3}}};

}  // namespace
