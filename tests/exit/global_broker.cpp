// SPDX-License-Identifier: MIT
// A broker of static storage: its workers end behind all that was made after it, while the program
// exits. Says by its exit code whether they have ended.

#include <cstdlib>

#include <troupe.hpp>

namespace {

int instances = 0;

/// Goes after the broker.
struct witness {
  ~witness() {
    if (instances != 0) std::_Exit(1);
  }
} last;

struct guest {
  guest() { ++instances; }
  guest(const guest&) = delete;
  guest& operator=(const guest&) = delete;
  ~guest() { --instances; }
  int visit() { return ++visits; }
  void fail() { throw troupe::error(troupe::errc::refused); }
  int visits = 0;
};

troupe::broker broker;

troupe::task<int> visit_all() {
  int sum = 0;
  for (const char* const key : {"a", "b"}) {
    auto worker = broker.worker<guest>(key);
    sum += co_await worker.call<&guest::visit>();
    const auto failed = co_await troupe::as_result(worker.call<&guest::fail>());
    sum += failed.has_value() ? 100 : 0;
  }
  co_return sum;
}

}  // namespace

int main() { return broker.run(visit_all()) == 2 && instances == 2 ? 0 : 2; }
