// SPDX-License-Identifier: MIT
// A mailbox's list against a sequence of the standard library: whatever is done to it, both hold
// the same.

#include <troupe/actor/message.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string_view>
#include <vector>

#include <troupe/base/hash.hpp>

#include "../support/catch.hpp"

namespace message_queue_tests {
namespace {

using troupe::detail::message;
using troupe::detail::message_queue;

class note final : public message {
public:
  note() noexcept : message(troupe::detail::message_kind::tell) {}
  troupe::detail::turn_state start(troupe::detail::cell&, troupe::detail::turn*) noexcept override {
    return troupe::detail::turn_state::ended;
  }
  void refuse(const troupe::detail::refusal&) noexcept override {}
  const std::string_view& method_name() const noexcept override { return name; }

private:
  static constexpr std::string_view name = "note";
};

/// What a queue holds, oldest first, and both what is done to it and what should come of it.
struct both {
  message_queue queue;
  std::deque<message*> expected;

  bool same() const {
    std::vector<const message*> seen;
    for (const message* m = queue.front(); m != nullptr; m = message_queue::newer(*m)) {
      seen.push_back(m);
      if (seen.size() > expected.size()) return false;
    }
    return std::ranges::equal(seen, expected) && queue.empty() == expected.empty();
  }
};

/// An inbox is linked from the newest one on.
troupe::runnable* inbox_of(const std::vector<message*>& oldest_first) {
  troupe::runnable* newest = nullptr;
  for (message* const m : oldest_first) {
    m->next = newest;
    newest = m;
  }
  return newest;
}

}  // namespace

TEST_CASE("a mailbox's list holds what was put into it, in order", "[actor][message_queue]") {
  std::vector<std::unique_ptr<note>> owned;
  const auto fresh = [&owned] { return owned.emplace_back(std::make_unique<note>()).get(); };
  std::uint64_t seed = 7;
  both a;
  both b;
  for (int step = 0; step != 20'000; ++step) {
    CAPTURE(step);
    const std::uint64_t random = troupe::splitmix64(seed);
    const std::size_t place = a.expected.empty() ? 0 : (random >> 8) % a.expected.size();
    switch (random % 8) {
      case 0:
        a.expected.push_back(fresh());
        a.queue.push_back(*a.expected.back());
        break;
      case 1:
        a.expected.push_front(fresh());
        a.queue.push_front(*a.expected.front());
        break;
      case 2: {
        std::vector<message*> came;
        for (std::size_t i = 0; i <= (random >> 8) % 3; ++i) came.push_back(fresh());
        a.queue.append_inbox(inbox_of(came));
        a.expected.insert(a.expected.end(), came.begin(), came.end());
        for (const message* m : came) REQUIRE(m->queued);
        break;
      }
      case 3:
      case 4:
        if (a.expected.empty()) {
          REQUIRE(a.queue.pop_front() == nullptr);
        } else {
          REQUIRE(a.queue.pop_front() == a.expected.front());
          a.expected.pop_front();
        }
        break;
      case 5:
        if (a.expected.empty()) break;
        a.queue.remove(*a.expected[place]);
        a.expected.erase(a.expected.begin() + static_cast<std::ptrdiff_t>(place));
        break;
      case 6: {
        if (!b.expected.empty() || a.expected.empty()) break;
        const auto end = a.expected.begin() + static_cast<std::ptrdiff_t>(place + 1);
        b.queue.take_front(a.queue, *a.expected[place]);
        b.expected.assign(a.expected.begin(), end);
        a.expected.erase(a.expected.begin(), end);
        break;
      }
      case 7:
        // The one that was taken ends either way, and its messages go back in front.
        if (random % 3 == 0) {
          const message* m = b.queue.take_all();
          for (const message* const e : b.expected) {
            REQUIRE(m == e);
            m = message_queue::newer(*m);
          }
          REQUIRE(m == nullptr);
          b.expected.clear();
        } else {
          while (!b.expected.empty()) {
            message* const last = b.expected.back();
            b.queue.remove(*last);
            b.expected.pop_back();
            a.queue.push_front(*last);
            a.expected.push_front(last);
          }
        }
        break;
    }
    REQUIRE(a.same());
    REQUIRE(b.same());
  }
}

}  // namespace message_queue_tests
