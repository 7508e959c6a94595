// SPDX-License-Identifier: MIT
// What becomes of arguments: lvalues stay with the caller, rvalues are moved in once, what has to
// be converted lives long enough, and owning calls own.

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../support/catch.hpp"
#include "kit.hpp"

namespace arguments_tests {
namespace {

using namespace std::chrono_literals;
using troupe::task;
using troupe::test::gate;
using troupe::test::world;

/// Counts what is done to it; the simulator's one thread runs all of it.
struct traced {
  static inline int copies = 0;
  static inline int moves = 0;
  static inline int alive = 0;
  static void reset() { copies = moves = 0; }

  explicit traced(int v) : value(v) { ++alive; }
  traced(const traced& o) : value(o.value) {
    ++copies;
    ++alive;
  }
  traced(traced&& o) noexcept : value(std::exchange(o.value, -1)) {
    ++moves;
    ++alive;
  }
  traced& operator=(const traced&) = delete;
  ~traced() { --alive; }

  int value;
};

/// Converts from an int, and owns memory, so that a sanitizer sees one that died too early.
struct converted {
  converted(int v) : value(std::make_unique<int>(v)) {}
  std::unique_ptr<int> value;
};

struct shape {
  virtual ~shape() = default;
  virtual int corners() const { return 0; }
};
struct square : shape {
  int corners() const override { return 4; }
};

}  // namespace

struct actor_arguments_target {
  int by_ref(const traced& t) { return t.value; }
  int by_value(traced t) { return t.value; }
  int by_rvalue(traced&& t) { return t.value; }
  task<int> by_ref_later(const traced& t) {
    co_await troupe::yield();
    co_return t.value;
  }
  task<int> by_value_later(traced t) {
    co_await troupe::yield();
    co_return t.value;
  }
  task<int> by_rvalue_later(traced&& t) {
    co_await troupe::yield();
    co_return t.value;
  }

  int converts(const converted& c) { return *c.value; }
  task<int> converts_later(const converted& c) {
    co_await troupe::yield();
    co_await troupe::yield();
    co_return *c.value;
  }
  task<std::string> text_later(const std::string& s, std::string by_value, std::string_view view) {
    co_await troupe::yield();
    co_return s + by_value + std::string(view);
  }
  std::string text(const std::string& s, std::string by_value, std::string_view view) {
    return s + by_value + std::string(view);
  }
  int sum(std::span<const int> numbers) {
    int s = 0;
    for (const int n : numbers) s += n;
    return s;
  }
  task<int> sum_later(std::span<const int> numbers) {
    co_await troupe::yield();
    co_return sum(numbers);
  }
  task<int> corners_later(const shape& s) {
    co_await troupe::yield();
    co_return s.corners();
  }
  int corners(const shape& s) { return s.corners(); }
  const void* address(const traced& t) { return std::addressof(t); }
  task<const void*> address_later(const traced& t) {
    co_await troupe::yield();
    co_return std::addressof(t);
  }
  int pointer(std::shared_ptr<const int> p) { return *p; }
  int many(int a, const std::string& b, std::unique_ptr<int> c, std::string_view d) {
    return a + static_cast<int>(b.size()) + *c + static_cast<int>(d.size());
  }
  task<> wait(gate g) { co_await g; }
};
}  // namespace arguments_tests

template <>
inline constexpr bool troupe::enable_sendable<const void*> = true;

TROUPE_METHODS(arguments_tests::actor_arguments_target, by_ref, by_value, by_rvalue, by_ref_later,
               by_value_later, by_rvalue_later, converts, converts_later, text_later, text, sum,
               sum_later, corners, corners_later, address, address_later, pointer, many, wait)

namespace arguments_tests {
namespace {

using target = actor_arguments_target;
using proxy = troupe::proxy<target>;

/// Makes the worker busy until all that was ready has run a few times.
class busy {
public:
  explicit busy(proxy p) : proxy_(std::move(p)) {}

  task<> start() {
    scope_.spawn(troupe::test::as_task(proxy_->wait(gate_)));
    co_await troupe::test::reached(gate_);
    scope_.spawn(open_later());
  }
  task<> end() { co_await scope_.join(); }

private:
  task<> open_later() {
    for (int i = 0; i < 20; ++i) co_await troupe::yield();
    gate_.open();
  }

  proxy proxy_;
  gate gate_;
  troupe::task_scope scope_;
};

task<> lvalues(proxy p) {
  const traced mine(5);
  traced::reset();
  const int ref = co_await p->by_ref(mine);
  const int ref_later = co_await p->by_ref_later(mine);
  CHECK(ref + ref_later == 10);
  CHECK(traced::copies == 0);
  CHECK(traced::moves == 0);
  const void* const address = co_await p->address(mine);
  const void* const address_later = co_await p->address_later(mine);
  CHECK(address == &mine);
  CHECK(address_later == &mine);
  // A method that takes a value gets one: that copy is asked for by its signature.
  traced::reset();
  const int value = co_await p->by_value(mine);
  CHECK(value == 5);
  CHECK(traced::copies == 1);
  CHECK(traced::moves == 0);
}

task<> lvalues_of_busy(proxy p) {
  const traced mine(5);
  traced::reset();
  busy b(p);
  co_await b.start();
  const int ref = co_await p->by_ref(mine);
  const int ref_later = co_await p->by_ref_later(mine);
  CHECK(ref + ref_later == 10);
  CHECK(traced::copies == 0);
  CHECK(traced::moves == 0);
  co_await b.end();
}

task<> rvalues(proxy p) {
  traced::reset();
  const int ref = co_await p->by_ref(traced(1));
  CHECK(ref == 1);
  CHECK(traced::copies == 0);
  CHECK(traced::moves == 1);  // into the call
  traced::reset();
  const int rvalue = co_await p->by_rvalue(traced(2));
  CHECK(rvalue == 2);
  CHECK(traced::copies == 0);
  CHECK(traced::moves == 1);
  traced::reset();
  const int value = co_await p->by_value(traced(3));
  CHECK(value == 3);
  CHECK(traced::copies == 0);
  CHECK(traced::moves == 2);  // into the call, and on into the parameter
  traced::reset();
  const int ref_later = co_await p->by_ref_later(traced(4));
  CHECK(ref_later == 4);
  CHECK(traced::copies == 0);
  CHECK(traced::moves == 1);
  traced::reset();
  const int rvalue_later = co_await p->by_rvalue_later(traced(5));
  CHECK(rvalue_later == 5);
  CHECK(traced::copies == 0);
  CHECK(traced::moves == 1);
  traced::reset();
  const int value_later = co_await p->by_value_later(traced(6));
  CHECK(value_later == 6);
  CHECK(traced::copies == 0);
  CHECK(traced::moves <= 3);  // the compiler's own move into the coroutine comes on top
}

task<> owned(proxy p) {
  const traced mine(7);
  traced::reset();
  const int copied = co_await p->by_ref(mine).within(1h);
  CHECK(copied == 7);
  CHECK(traced::copies == 1);  // the block outlives this frame: it needs its own
  traced::reset();
  const int moved = co_await p->by_ref(traced(8)).within(1h);
  CHECK(moved == 8);
  CHECK(traced::copies == 0);
  const int later = co_await p->by_value_later(traced(9)).within(1h);
  CHECK(later == 9);
  CHECK(traced::copies == 0);
  traced::reset();
  const bool told = p.tell<&target::by_ref>(mine);
  CHECK(told);
  CHECK(traced::copies == 1);
  traced::reset();
  const bool told_moved = p.tell<&target::by_value_later>(traced(3));
  CHECK(told_moved);
  const int after = co_await p->by_ref(mine);
  CHECK(after == 7);
  CHECK(traced::copies == 0);
}

task<> conversions(proxy p) {
  const int plain = co_await p->converts(3);
  CHECK(plain == 3);
  const int later = co_await p->converts_later(4);
  CHECK(later == 4);
  int lvalue = 5;
  const int of_lvalue = co_await p->converts_later(lvalue);
  CHECK(of_lvalue == 5);
  const int owned = co_await p->converts_later(6).within(1h);
  CHECK(owned == 6);
  const std::string text = co_await p->text("a-literal-too-long-for-the-small-buffer", "b", "c");
  CHECK(text == "a-literal-too-long-for-the-small-bufferbc");
  const std::string text_later =
      co_await p->text_later("a-literal-too-long-for-the-small-buffer", "b", "c");
  CHECK(text_later == "a-literal-too-long-for-the-small-bufferbc");
  const char* const pointer = "a-pointer-to-characters-that-is-converted";
  const std::string from_pointer = co_await p->text_later(pointer, pointer, pointer);
  CHECK(from_pointer.size() == 3 * std::string_view(pointer).size());
  const int many = co_await p->many(1, "four", std::make_unique<int>(5), std::string("six..."));
  CHECK(many == 16);
  const auto shared = std::make_shared<int>(11);
  const int of_shared = co_await p->pointer(shared);
  CHECK(of_shared == 11);
}

task<> views(proxy p) {
  const std::string long_text(200, 'x');
  // Temporaries live in the call object, so views of them hold.
  const std::string borrowed =
      co_await p->text_later(std::string(100, 'a'), std::string(100, 'b'), std::string(100, 'c'));
  CHECK(borrowed == std::string(100, 'a') + std::string(100, 'b') + std::string(100, 'c'));
  const std::string of_lvalue = co_await p->text_later(long_text, long_text, long_text);
  CHECK(of_lvalue.size() == 600);
  // Some compilers take no list in braces inside a `co_await` expression.
  const int sum = co_await p->sum(std::vector<int>(3, 2));
  CHECK(sum == 6);
  const int sum_later = co_await p->sum_later(std::vector<int>(5, 2));
  CHECK(sum_later == 10);
  const std::vector<int> numbers(100, 1);
  const int of_numbers = co_await p->sum_later(numbers);
  CHECK(of_numbers == 100);
  const int of_span = co_await p->sum_later(std::span<const int>(numbers).first(10));
  CHECK(of_span == 10);
}

/// Sends views of what is gone before the method runs.
void tell_views(const proxy& p) {
  std::string text(100, 'a');
  std::vector<int> numbers(50, 1);
  const bool text_told = p.tell<&target::text_later>(text, text, std::string_view(text));
  const bool numbers_told = p.tell<&target::sum_later>(std::span<const int>(numbers));
  CHECK(text_told);
  CHECK(numbers_told);
  text.assign(100, 'z');
  numbers.assign(50, 9);
}

task<> owned_views(proxy p) {
  tell_views(p);
  const std::string text = co_await p->text_later(std::string(100, 'a'), "b", "c").within(1h);
  CHECK(text == std::string(100, 'a') + "bc");
  const int sum = co_await p->sum(std::vector<int>(3, 2)).within(1h);
  CHECK(sum == 6);
  const std::vector<int> numbers(10, 1);
  const int of_numbers = co_await p->sum_later(numbers).within(1h);
  CHECK(of_numbers == 10);
}

/// The caller's variable changes after the call was made: an owning call does not see that.
task<> owned_is_a_snapshot(proxy p) {
  std::string text = "before";
  auto call = p->text_later(text, text, text).within(1h);
  text = "after!";
  const std::string seen = co_await std::move(call);
  CHECK(seen == "beforebeforebefore");
}

task<> derived(proxy p) {
  const square s;
  const int of_lvalue = co_await p->corners_later(s);
  CHECK(of_lvalue == 4);
  const int of_rvalue = co_await p->corners_later(square());
  CHECK(of_rvalue == 4);
  const int plain = co_await p->corners(square());
  CHECK(plain == 4);
}

task<> never_awaited(proxy p) {
  {
    auto dropped = p->by_ref(traced(1));
    auto dropped_too = p->by_value_later(traced(2)).within(1h);
    static_cast<void>(dropped);
    static_cast<void>(dropped_too);
  }
  CHECK(traced::alive == 0);
  const int still = co_await p->by_ref(traced(3));
  CHECK(still == 3);
}

}  // namespace

TEST_CASE("lvalue arguments are not copied by the library", "[actor][call][promise5]") {
  world w;
  w.run(lvalues(w.broker.worker<target>()));
}

TEST_CASE("lvalue arguments of a call that waits are not copied either",
          "[actor][call][promise5]") {
  world w;
  w.run(lvalues_of_busy(w.broker.worker<target>()));
}

TEST_CASE("rvalue arguments are moved into the call once", "[actor][call][promise5]") {
  world w;
  w.run(rvalues(w.broker.worker<target>()));
}

TEST_CASE("owning calls and tells own their arguments", "[actor][within][tell]") {
  world w;
  w.run(owned(w.broker.worker<target>()));
  w.sim.advance(1s);
  REQUIRE(traced::alive == 0);
}

TEST_CASE("what is converted for a coroutine's const reference lives as long as the call",
          "[actor][call]") {
  world w;
  w.run(conversions(w.broker.worker<target>()));
}

TEST_CASE("views of temporaries hold for as long as the method runs", "[actor][call]") {
  world w;
  w.run(views(w.broker.worker<target>()));
}

TEST_CASE("owning calls and tells own what their views show", "[actor][within][tell]") {
  world w;
  w.run(owned_views(w.broker.worker<target>()));
  w.run(owned_is_a_snapshot(w.broker.worker<target>()));
}

TEST_CASE("an argument of a derived class is not sliced", "[actor][call]") {
  world w;
  w.run(derived(w.broker.worker<target>()));
}

TEST_CASE("a call that is never awaited drops its arguments", "[actor][call]") {
  world w;
  w.run(never_awaited(w.broker.worker<target>()));
  REQUIRE(traced::alive == 0);
}

}  // namespace arguments_tests
