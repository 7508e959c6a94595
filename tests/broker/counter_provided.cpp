// SPDX-License-Identifier: MIT
// The implementation of an interface, in a file of its own; its callers are in icounter.cpp.

#include "icounter.hpp"
#include "support.hpp"

namespace troupe::test {
namespace {

instance_count counters;

class counter final : public icounter {
public:
  explicit counter(context& ctx) : value_(static_cast<int>(ctx.key().size())) {}
  void on_start() { value_ += 100; }
  int add(int amount) override { return value_ += amount; }
  task<int> add_later(int amount) override {
    co_await yield();
    co_return value_ += amount;
  }
  static constexpr actor_options options{.reentrancy = reentrancy::none};

private:
  int value_;
  counted me_{counters};
};

}  // namespace

void provide_counter(broker& b) {
  b.provide<icounter>([](context& ctx) { return std::make_unique<counter>(ctx); });
}

int living_counters() { return counters.living(); }

}  // namespace troupe::test
