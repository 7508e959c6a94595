// SPDX-License-Identifier: MIT

// What does a worker cost: memory while idle, time to create, call once and remove?

#include "support/measure.hpp"

#include <malloc.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <troupe.hpp>

namespace {

struct tiny : bench::counter {};

troupe::task<> touch(troupe::broker& broker, std::size_t first, std::size_t n) {
  for (std::size_t i = first; i < first + n; ++i) {
    const auto p = broker.worker<tiny>(std::to_string(i));
    co_await p.call<&tiny::add>(1);
  }
}

troupe::task<> churn(troupe::broker& broker, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    const std::string key = std::to_string(i);
    {
      const auto p = broker.worker<tiny>(key);
      co_await p.call<&tiny::add>(1);
    }
    co_await broker.remove<tiny>(key);
  }
}

/// In steps of `stride`: one after the other, or so that no look-up helps the next one's caches.
double look_up(troupe::broker& broker, const std::vector<std::string>& keys, std::size_t stride) {
  return bench::ns_per_op(500'000, [&](std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
      static_cast<void>(broker.worker<tiny>(keys[i * stride % keys.size()]));
    }
  });
}

/// The same of a map that is nobody else's: no lock, a counted pointer for each key.
using plain_map = std::unordered_map<std::string, std::shared_ptr<tiny>>;
double look_up_plainly(const plain_map& map, const std::vector<std::string>& keys,
                       std::size_t stride) {
  return bench::ns_per_op(500'000, [&](std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
      const std::shared_ptr<tiny> found = map.find(keys[i * stride % keys.size()])->second;
      if (!found) std::abort();
    }
  });
}

/// And of one that counts nothing, so that a processor may go on before it has found.
using bare_map = std::unordered_map<std::string, void*>;
double look_up_barely(const bare_map& map, const std::vector<std::string>& keys,
                      std::size_t stride) {
  return bench::ns_per_op(500'000, [&](std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
      if (map.find(keys[i * stride % keys.size()])->second == nullptr) std::abort();
    }
  });
}

/// What a look-up of 100 000 keys goes through at least: three lines, each of which says where the
/// next is, of as much memory as keys, table and records take. Nothing is compared or counted.
class three_lines {
public:
  explicit three_lines(std::size_t count) : keys_(count), places_(count), records_(count) {
    for (std::size_t i = 0; i < count; ++i) {
      keys_[i].next = static_cast<std::uint32_t>(i * 48'271 % count);
      places_[i].next = static_cast<std::uint32_t>(i * 69'621 % count);
    }
  }
  double read(std::size_t stride) const {
    return bench::ns_per_op(500'000, [&](std::size_t n) {
      std::size_t last = 0;  // no line is asked for before the one before is there
      for (std::size_t i = 0; i < n; ++i) {
        const std::size_t at = keys_[(i * stride + last) % keys_.size()].next;
        last = records_[places_[at].next].zero;
      }
      if (last != 0) std::abort();
    });
  }

private:
  struct alignas(32) key {
    std::uint32_t next = 0;
  };
  struct place {
    std::uint32_t next = 0;
    std::uint32_t rest[3] = {};
  };
  struct alignas(32) record {
    std::uint32_t zero = 0;
  };
  std::vector<key> keys_;
  std::vector<place> places_;
  std::vector<record> records_;
};

/// With what was mapped for itself.
std::size_t heap_in_use() {
  const auto heap = mallinfo2();
  return heap.uordblks + heap.hblkhd;
}

}  // namespace

int main() {
  const double mutex = bench::mutex_call();
  std::printf("%-58s %10.1f ns\n", "mutex lock + call + unlock", mutex);
  troupe::broker broker({.threads = 2});

  constexpr std::size_t count = 100'000;
  broker.run(touch(broker, 0, 1000));
  const std::size_t before = heap_in_use();
  broker.run(touch(broker, 1000, count));
  const double bytes = static_cast<double>(heap_in_use() - before) / count;
  std::printf("%-58s %10.1f bytes (heap, with actor, key and table)\n", "idle worker", bytes);

  std::vector<std::string> keys;
  for (std::size_t i = 0; i < count; ++i) keys.push_back(std::to_string(1000 + i));
  plain_map map;
  bare_map bare;
  for (const std::string& key : keys) {
    map.emplace(key, std::make_shared<tiny>());
    bare.emplace(key, &map);
  }
  const three_lines lines(count);
  for (const auto& [order, stride] : {std::pair("the same one", 0), std::pair("in order", 1),
                                      std::pair("all over memory", 7919)}) {
    const auto by = static_cast<std::size_t>(stride);
    const double plain = look_up_plainly(map, keys, by);
    const double hit = look_up(broker, keys, by);
    const std::string what = std::string("worker<A>(key), 100 000 keys, ") + order;
    bench::row(what.c_str(), hit, plain, "unordered_map of counted pointers");
    bench::row("", hit, look_up_barely(bare, keys, by), "bare unordered_map");
    bench::row("", hit, lines.read(by), "three lines, one after the other");
    bench::row_scaled("", hit, 60, mutex);
  }
  broker.run(broker.terminate());

  bench::row_scaled("create, call once, remove",
                    bench::ns_per_op(100'000, [&](std::size_t n) { broker.run(churn(broker, n)); }),
                    1500, mutex);
}
