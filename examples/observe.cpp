// SPDX-License-Identifier: MIT

// Seeing inside a running load: a filter that refuses calls, one that counts them, the debug log,
// a trace that comes from outside, the broker's figures, and the same as Prometheus reads them.
// The load runs on the simulator, so that it is the same each time; nothing here depends on that.

#include <chrono>
#include <cstddef>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <troupe.hpp>

using namespace std::chrono_literals;

struct store {
  int take(int count) {
    if (count > left) throw std::out_of_range("sold out");
    return left -= count;
  }
  troupe::task<> refill(int count) {
    co_await troupe::sleep_for(18ms);  // a lorry comes; meanwhile nobody gets anything
    left += count;
  }
  int left = 10;
};
TROUPE_METHODS(store, take, refill)

struct till {
  explicit till(troupe::context& c) : ctx(c) {}

  troupe::task<int> sell(std::string what, int count) {
    const auto shelf = ctx.worker<store>(what);
    const int left = co_await shelf->take(count);
    if (left < 5) shelf.tell<&store::refill>(10);
    co_await troupe::sleep_for(1ms);  // the customer pays
    co_return left;
  }
  troupe::context& ctx;
};
TROUPE_METHODS(till, sell)

/// Nobody buys at the till that is closed.
class closed_till final : public troupe::observer {
public:
  void before_call(const troupe::worker_id& to, const troupe::call_info& call) override {
    if (call.method == "sell" && to.key == "3") throw std::runtime_error("closed");
  }
};

/// Counts what becomes of calls, by method.
class tally final : public troupe::observer {
public:
  void on_settled(const troupe::worker_id&, const troupe::call_info& call) override {
    // From any thread: on a pool this would take a lock.
    ++counts_[std::string(call.method) + ' ' + std::string(to_string(call.outcome))];
  }
  void print() const {
    for (const auto& [what, count] : counts_) std::cout << "  " << what << ": " << count << '\n';
  }

private:
  std::map<std::string, int> counts_;
};

/// Customers at one till, one after the other. They wait 5 ms, and the last one wants too much.
troupe::task<> queue_up(troupe::broker& shop, std::string where, std::string what) {
  const auto at = shop.worker<till>(where);
  for (int i = 0; i < 8; ++i) {
    const auto sold = co_await troupe::as_result(at->sell(what, i < 7 ? 3 : 100).within(5ms));
    if (!sold) co_await troupe::sleep_for(2ms);
  }
}

troupe::task<> load(troupe::broker& shop) {
  co_await troupe::when_all(queue_up(shop, "1", "apples"), queue_up(shop, "2", "bread"),
                            queue_up(shop, "3", "cheese"));
}

troupe::task<> traced_sale(troupe::broker& shop) {
  static_cast<void>(co_await shop.worker<till>("1")->sell("eggs", 1));
}

int main() {
  closed_till refusing;
  tally counting;
  troupe::debug_log log([](std::string_view line) { std::cout << "  " << line << '\n'; });
  troupe::observers all{&refusing, &counting, &log};

  troupe::sim_executor simulation({.seed = 1});
  troupe::broker shop(
      {.on = &simulation,
       .cleaner = troupe::lru_cleaner({.worker_count = 5}),  // two tills, three shelves
       .observe = &all,
       .measure_waits = true});
  simulation.run(load(shop));
  std::cout << "what became of the calls:\n";
  counting.print();

  std::cout << "one sale in the log, as part of a trace that began elsewhere:\n";
  const auto outside =
      troupe::parse_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
  log.enable();
  simulation.run(troupe::with_trace(*outside, traced_sale(shop)));
  log.disable();

  const troupe::broker_stats stats = shop.stats();
  std::cout << "figures: " << stats.calls << " calls and " << stats.tells << " tells in "
            << stats.turns << " turns, " << stats.created << " workers made, " << stats.evictions
            << " evicted, " << stats.waits.count() << " messages waited\n";

  std::cout << "some of it for Prometheus:\n";
  const std::string text = troupe::to_prometheus(stats, "shop");
  for (std::size_t at = 0; at != text.size();) {
    const std::size_t end = text.find('\n', at) + 1;
    const std::string line = text.substr(at, end - at);
    for (const char* const shown : {"calls_total", "wait_seconds_count", "shop_workers "}) {
      if (line.find(shown) != std::string::npos) std::cout << "  " << line;
    }
    at = end;
  }
}
