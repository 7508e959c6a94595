// SPDX-License-Identifier: MIT
// The host's end of the shared memory, with the other end in this process: one that keeps to the
// rules, and one that writes what it likes.

#include <troupe/function/sandbox/call_ring.hpp>

#include <support/catch.hpp>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <thread>

#include <troupe/base/hash.hpp>

#include "subject.hpp"

namespace {

using namespace troupe::detail::sandbox;
namespace order = troupe::detail::order;
using subject::call;

struct listener final : ring_listener {
  void started(troupe_bytes manifest) noexcept override {
    text = "started:" + std::string(reinterpret_cast<const char*>(manifest.data), manifest.size);
  }
  void refused(std::string_view why) noexcept override { text = "refused:" + std::string(why); }
  void asked(const question& q) noexcept override {
    questions.push_back(std::string(q.module) + "/" + std::string(q.function) + "/" +
                        std::to_string(q.payload.size));
    cells.push_back(q.cell);
  }
  bool permits(std::uint32_t cell, std::string_view) noexcept override {
    if (!permitted) refused_cells.push_back(cell);
    return permitted;
  }
  bool permitted = true;
  std::vector<std::uint32_t> refused_cells;
  std::string text;
  std::vector<std::string> questions;
  std::vector<std::uint32_t> cells;
};

/// Both files, and the child's side of them.
struct rig {
  rig()
      : host("host", file_size<host_file>, peer_may::read),
        child("child", file_size<child_file>, peer_may::write),
        ring(host, child) {}
  ~rig() {
    ring.shut();
    ring.end(troupe::errc::worker_crashed, "the test is over");
  }

  host_file& host_words() { return *reinterpret_cast<host_file*>(host.data()); }
  child_file& child_words() { return *reinterpret_cast<child_file*>(child.data()); }
  unsigned char* child_arena() { return child.data() + arena_offset<child_file>; }

  /// The next entry of the host, taken; 0: none.
  std::uint32_t take_entry() {
    if (host_words().queue.tail.load(order::acquire) == taken) return 0;
    const std::uint32_t entry =
        host_words().queue.entries[taken++ % queue_length].load(order::relaxed);
    child_words().taken.store(taken, order::release);
    return entry;
  }
  std::string payload_of(std::uint32_t cell) {
    const auto& request = host_words().requests[cell];
    const unsigned char* const bytes =
        request.head.block == in_cell ? request.bytes
                                      : host.data() + arena_offset<host_file> + request.head.block;
    return std::string(
        reinterpret_cast<const char*>(bytes) + request.head.key_size + request.head.caller_size,
        request.head.payload_size);
  }
  void put(std::uint32_t entry) {
    child_words().queue.entries[tail % queue_length].store(entry, order::relaxed);
    child_words().queue.tail.store(++tail, order::seq_cst);
  }
  /// Begins the call of that entry, as a child does; false: it was taken back, and is passed.
  bool begin(std::uint32_t entry) {
    std::uint32_t claim = claim_open;
    if (child_words().claims[cell_of(entry)].compare_exchange_strong(claim, claim_begun))
      return true;
    put(to_entry(entry_kind::passed, cell_of(entry)));
    return false;
  }
  void reply(std::uint32_t cell, const std::string& text) {
    plain_cell<reply_head> out;
    out.head = {troupe_outcome_value, 0, text.size(), in_cell};
    std::memcpy(out.bytes, text.data(), text.size());
    child_words().replies[cell].copy_from(&out, sizeof out.head + text.size());
    put(to_entry(entry_kind::reply, cell));
  }
  void reply_with(std::uint32_t cell, reply_head head) {
    child_words().replies[cell].copy_from(&head, sizeof head);
    put(to_entry(entry_kind::reply, cell));
  }
  void start() {
    plain_cell<reply_head> out;
    out.head = {troupe_outcome_value, 0, 0, in_cell};
    child_words().replies[start_cell].copy_from(&out, sizeof out.head);
    put(to_entry(entry_kind::started, start_cell));
    static_cast<void>(ring.take(heard));
  }
  take_result take() { return ring.take(heard); }

  shared_memory host;
  shared_memory child;
  call_ring ring;
  listener heard;
  std::uint32_t taken = 0;
  std::uint32_t tail = 0;
};

}  // namespace

TEST_CASE("A call goes in and its reply comes out") {
  call c("hello", "me", "key");
  call longer(std::string(5000, 'l'));
  rig r;
  const auto ticket = r.ring.begin(c, true);
  REQUIRE(ticket.has_value());
  CHECK(r.ring.is_open(*ticket));
  CHECK(r.host_words().looking.load(order::seq_cst) == 1);
  const std::uint32_t entry = r.take_entry();
  CHECK(kind_of(entry) == static_cast<std::uint32_t>(entry_kind::call));
  CHECK(r.payload_of(cell_of(entry)) == "hello");
  CHECK(r.take() == take_result::all);
  CHECK(c.ends == 0);
  r.reply(cell_of(entry), "world");
  CHECK(r.ring.has_more());
  CHECK(r.take() == take_result::all);
  CHECK(c.outcome() == "value: world");
  CHECK_FALSE(r.ring.is_open(*ticket));
  r.ring.look_away();
  CHECK(r.host_words().looking.load(order::seq_cst) == 0);

  static_cast<void>(r.ring.begin(longer, false));
  const std::uint32_t second = r.take_entry();
  CHECK(r.payload_of(cell_of(second)) == std::string(5000, 'l'));
  std::memset(r.child_arena() + 640, 'r', 9000);
  r.reply_with(cell_of(second), {troupe_outcome_exception, 0, 9000, 640});
  CHECK(r.take() == take_result::all);
  CHECK(longer.outcome() == "exception: " + std::string(9000, 'r'));
  CHECK(r.ring.idle());
  CHECK(r.ring.taken() == 2);
}

TEST_CASE("Nobody else can write to the host's file") {
  const shared_memory host("host", file_size<host_file>, peer_may::read);
  const mapping readable = mapping::of(host.file(), host.size(), PROT_READ);
  CHECK(readable);
  const mapping writable = mapping::of(host.file(), host.size(), PROT_READ | PROT_WRITE);
  CHECK_FALSE(writable);
  CHECK(::ftruncate(host.file(), 0) != 0);
  const shared_memory child("child", file_size<child_file>, peer_may::write);
  CHECK(mapping::of(child.file(), child.size(), PROT_READ | PROT_WRITE));
  CHECK(::ftruncate(child.file(), 0) != 0);
}

TEST_CASE("More calls than cells wait in line, and go in their order") {
  std::deque<call> calls;
  rig r;
  for (int i = 0; i != 1100; ++i) {
    calls.emplace_back(std::to_string(i));
    static_cast<void>(r.ring.begin(calls.back(), false));
  }
  for (int i = 0; i != 1100; ++i) {
    const std::uint32_t entry = r.take_entry();
    REQUIRE(entry != 0);
    CHECK(r.payload_of(cell_of(entry)) == std::to_string(i));
    r.reply(cell_of(entry), std::to_string(i));
    REQUIRE(r.take() == take_result::all);
  }
  CHECK(r.take_entry() == 0);
  for (call& c : calls) CHECK(c.ends == 1);
}

TEST_CASE("The end tells what was begun from what was not") {
  call begun;
  call waiting;
  call stopped;
  rig r;
  static_cast<void>(r.ring.begin(begun, false));
  static_cast<void>(r.ring.begin(stopped, false));
  static_cast<void>(r.ring.begin(waiting, false));
  static_cast<void>(r.take_entry());
  static_cast<void>(r.take_entry());
  r.ring.stop(stopped.id);
  r.ring.stop(stopped.id);
  r.ring.shut();
  r.ring.end(troupe::errc::worker_crashed, "why");
  CHECK(begun.outcome() == "worker crashed: why");
  CHECK(stopped.outcome() == "worker crashed: why");
  CHECK(waiting.outcome() == "given back");
  call late;
  CHECK_FALSE(r.ring.begin(late, false).has_value());
  CHECK(late.outcome() == "given back");
}

TEST_CASE("A call that has not begun is taken back, one that has is not") {
  call begun;
  call unbegun(std::string(5000, 'u'));
  call other;
  rig r;
  static_cast<void>(r.ring.begin(begun, false));
  const auto ticket = r.ring.begin(unbegun, false);
  REQUIRE(ticket.has_value());
  REQUIRE(r.begin(r.take_entry()));
  CHECK_FALSE(r.ring.withdraw(begun.id));
  CHECK(r.ring.withdraw(unbegun.id));
  CHECK_FALSE(r.ring.withdraw(unbegun.id));
  CHECK_FALSE(r.ring.is_open(*ticket));
  CHECK_FALSE(r.ring.withdraw(other.id));
  // Its cell is nobody's until the other side has passed it.
  CHECK_FALSE(r.begin(r.take_entry()));
  CHECK_FALSE(r.ring.idle());
  r.reply(0, "done");
  CHECK(r.take() == take_result::all);
  CHECK(begun.outcome() == "value: done");
  CHECK(unbegun.ends == 0);
  CHECK(r.ring.idle());
  static_cast<void>(r.ring.begin(other, false));
  const std::uint32_t entry = r.take_entry();
  REQUIRE(r.begin(entry));
  r.reply(cell_of(entry), "again");
  CHECK(r.take() == take_result::all);
  CHECK(other.outcome() == "value: again");
}

TEST_CASE("Calls in line are taken back, and the rest keeps its order") {
  std::deque<call> calls;
  rig r;
  for (std::uint32_t i = 0; i != cell_count + 5; ++i) {
    calls.emplace_back(std::to_string(i));
    static_cast<void>(r.ring.begin(calls.back(), false));
  }
  CHECK(r.ring.withdraw(calls[cell_count + 1].id));
  CHECK(r.ring.withdraw(calls[cell_count + 4].id));
  // All cells are of calls that nobody wants any more: what waits in line is not forgotten.
  for (std::uint32_t i = 0; i != cell_count; ++i) CHECK(r.ring.withdraw(calls[i].id));
  for (std::uint32_t i = 0; i != cell_count; ++i) CHECK_FALSE(r.begin(r.take_entry()));
  while (r.take() == take_result::more) {
  }
  for (const char* const expected : {"1024", "1026", "1027"}) {
    const std::uint32_t entry = r.take_entry();
    REQUIRE(entry != 0);
    CHECK(r.payload_of(cell_of(entry)) == expected);
    REQUIRE(r.begin(entry));
    r.reply(cell_of(entry), expected);
  }
  CHECK(r.take() == take_result::all);
  CHECK(r.ring.idle());
  int ended = 0;
  for (const call& c : calls) ended += c.ends;
  CHECK(ended == 3);
}

TEST_CASE("A call that was taken back does not end, and one that was not is not passed") {
  call c;
  call other;
  rig r;
  static_cast<void>(r.ring.begin(c, false));
  static_cast<void>(r.ring.begin(other, false));
  REQUIRE(r.ring.withdraw(c.id));
  SECTION("a reply to it is garbage") { r.reply(0, "never"); }
  SECTION("a call is passed that was not taken back") { r.put(to_entry(entry_kind::passed, 1)); }
  SECTION("it is passed twice") {
    r.put(to_entry(entry_kind::passed, 0));
    CHECK(r.take() == take_result::all);
    r.put(to_entry(entry_kind::passed, 0));
  }
  SECTION("a cell that nobody has") { r.put(to_entry(entry_kind::passed, 9)); }
  SECTION("a cell that does not exist") { r.put(to_entry(entry_kind::passed, cell_count)); }
  CHECK(r.take() == take_result::garbage);
  r.ring.shut();
  r.ring.end(troupe::errc::worker_crashed, "garbage");
  CHECK(c.ends == 0);
  CHECK(other.ends == 1);
}

TEST_CASE("Either the host takes a call back or the other side begins it, never both") {
  constexpr int rounds = 3000;
  std::deque<call> calls(rounds);
  rig r;
  troupe::detail::atomic<int> all_made{0};
  troupe::detail::atomic<int> over{0};
  std::vector<char> ran(rounds, 0);
  const std::uint64_t first = calls.front().id;
  std::thread other_side([&] {
    for (;;) {
      const bool was_last = all_made.load(order::acquire) != 0;
      const std::uint32_t entry = r.take_entry();
      if (entry == 0) {
        if (was_last) break;
        std::this_thread::yield();
        continue;
      }
      const std::uint64_t id = r.host_words().requests[cell_of(entry)].head.id;
      if (!r.begin(entry)) continue;
      ran[static_cast<std::size_t>(id - first)] = 1;
      r.reply(cell_of(entry), "ran");
    }
    over.store(1, order::release);
  });
  std::vector<char> back(rounds, 0);
  for (int i = 0; i != rounds; ++i) {
    call& c = calls[static_cast<std::size_t>(i)];
    static_cast<void>(r.ring.begin(c, false));
    if (i % 3 == 0) std::this_thread::yield();
    back[static_cast<std::size_t>(i)] = r.ring.withdraw(c.id) ? 1 : 0;
    REQUIRE(r.take() != take_result::garbage);
  }
  const auto until = troupe::steady_now() + subject::patience;
  while (!r.ring.idle() && troupe::steady_now() < until) {
    REQUIRE(r.take() != take_result::garbage);
    std::this_thread::yield();
  }
  all_made.store(1, order::release);
  while (over.load(order::acquire) == 0 || r.ring.has_more()) {
    REQUIRE(r.take() != take_result::garbage);
    std::this_thread::yield();
  }
  other_side.join();
  for (std::size_t i = 0; i != rounds; ++i) {
    REQUIRE(back[i] + ran[i] == 1);
    REQUIRE(calls[i].ends == ran[i]);
  }
}

TEST_CASE("A call that was never begun is replied to or taken back, never both") {
  constexpr std::uint64_t size = 2u << 20;  // takes its time
  int replied = 0;
  for (int round = 0; round != 200; ++round) {
    call c("p");
    rig r;
    troupe::detail::atomic<bool> goes{false};
    bool is_back = false;
    REQUIRE(r.ring.begin(c, false).has_value());
    const std::uint32_t cell = cell_of(r.take_entry());
    r.reply_with(cell, {troupe_outcome_value, 0, size, 0});
    std::thread withdraws([&] {
      while (!goes.load(order::acquire)) {
      }
      for (int i = 0; i != round * 100; ++i) static_cast<void>(goes.load(order::relaxed));
      is_back = r.ring.withdraw(c.id);
    });
    goes.store(true, order::release);
    const take_result took = r.take();
    withdraws.join();
    if (is_back != (took == take_result::garbage)) FAIL("taken and taken back");
    if (c.ends != (is_back ? 0 : 1)) FAIL("ended " << c.ends << " times");
    if (!is_back && c.reply.size() != size) FAIL("a reply of " << c.reply.size());
    if (!is_back) ++replied;
  }
  CHECK(replied > 0);
}

TEST_CASE("A call whose reply is garbage is not taken back, and ends with the other side") {
  call c("p");
  rig r;
  REQUIRE(r.ring.begin(c, false).has_value());
  const std::uint32_t cell = cell_of(r.take_entry());
  r.reply_with(cell, {troupe_outcome_value, 0, 100, arena_size - 50});
  CHECK(r.take() == take_result::garbage);
  CHECK_FALSE(r.ring.withdraw(c.id));
  CHECK(c.ends == 0);
  r.ring.shut();
  r.ring.end(troupe::errc::worker_crashed, "it cheats");
  CHECK(c.ends == 1);
  CHECK(c.outcome() == "worker crashed: it cheats");
}

TEST_CASE("Who passes no call that was taken back begins none") {
  call c("p");
  call begun("p");
  rig r;
  CHECK_FALSE(r.ring.begins_none());
  REQUIRE(r.ring.begin(c, false).has_value());
  CHECK(r.ring.begins_none());
  REQUIRE(r.ring.withdraw(c.id));
  CHECK(r.ring.begins_none());
  const std::uint32_t entry = r.take_entry();
  REQUIRE(r.ring.begin(begun, false).has_value());
  CHECK(r.begin(r.take_entry()));
  CHECK_FALSE(r.ring.begins_none());  // it has begun that one
  CHECK_FALSE(r.begin(entry));
  CHECK(r.take() == take_result::all);
  CHECK_FALSE(r.ring.begins_none());
}

TEST_CASE("Who lies about what it has taken has begun everything") {
  call c;
  rig r;
  static_cast<void>(r.ring.begin(c, false));
  r.child_words().taken.store(77, order::release);
  r.ring.shut();
  r.ring.end(troupe::errc::worker_crashed, "why");
  CHECK(c.outcome() == "worker crashed: why");
}

TEST_CASE("A reply to a call that is still being copied in is garbage, and the call lives on") {
  call big(std::string(30u << 20, 'x'));
  rig r;
  take_result seen = take_result::all;
  int ends_meanwhile = -1;
  std::thread peer([&] {
    // What a child sees of the copy's begin: the head of the request in a file that it can read.
    const mapping view = mapping::of(r.host.file(), r.host.size(), PROT_READ);
    const volatile std::uint64_t& id =
        reinterpret_cast<const host_file*>(view.data())->requests[0].head.id;
    const auto until = troupe::steady_now() + subject::patience;
    while (id != big.id && troupe::steady_now() < until) {
    }
    // Only if the reply is ahead of the call's entry is there something to see.
    const bool ahead = r.host_words().queue.tail.load(order::seq_cst) == 0;
    r.reply(0, "early");
    seen = r.take();
    if (ahead && r.host_words().queue.tail.load(order::seq_cst) == 0) ends_meanwhile = big.ends;
  });
  static_cast<void>(r.ring.begin(big, false));
  peer.join();
  if (ends_meanwhile < 0) return;  // the copy was over before the other thread had come so far
  CHECK(seen == take_result::garbage);
  CHECK(ends_meanwhile == 0);
  CHECK(big.ends == 0);
}

TEST_CASE("A sleeper that the other side moves to another word comes back by its deadline") {
  call c;
  rig r;
  static_cast<void>(r.ring.begin(c, true));
  subject::flag back;
  std::thread sleeper([&] {
    const std::uint32_t seen = r.ring.lie_down();
    const auto until = troupe::saturating_add(troupe::steady_now(), std::chrono::seconds(3));
    r.ring.sleep_for_more(seen, troupe::duration(until.time_since_epoch()).count());
    back.raise();
  });
  // As a child would: by a mapping of its own that can only be read.
  const mapping view = mapping::of(r.child.file(), r.child.size(), PROT_READ);
  const auto* const tail = &reinterpret_cast<const child_file*>(view.data())->queue.tail;
  static std::uint32_t elsewhere = 0;
  long moved = 0;
  const auto until = troupe::steady_now() + subject::patience;
  while (moved == 0 && !back.raised() && troupe::steady_now() < until) {
    moved = ::syscall(SYS_futex, tail, FUTEX_REQUEUE, 0, 1, &elsewhere, 0);
    std::this_thread::yield();
  }
  CHECK(moved == 1);
  static_cast<void>(r.ring.wake_sleepers());
  static_cast<void>(r.ring.wake_sleepers());
  CHECK(back.wait());
  sleeper.join();
  r.ring.look_away();
}

TEST_CASE("What a module may not ask is not copied out, and long questions come in small batches") {
  rig r;
  r.start();
  const auto ask_all = [&] {
    outgoing_head head{};
    head.payload_size = largest_message;
    for (std::uint32_t cell = 0; cell != outgoing_count; ++cell) {
      r.child_words().outgoing[cell].copy_from(&head, sizeof head);
      r.put(to_entry(entry_kind::outgoing, cell));
    }
  };
  r.heard.permitted = false;
  ask_all();
  CHECK(r.take() == take_result::all);
  CHECK(r.heard.questions.empty());
  CHECK(r.heard.refused_cells.size() == outgoing_count);
  for (const std::uint32_t cell : r.heard.refused_cells) r.ring.answer(cell, 2, 0, {nullptr, 0});

  r.heard.permitted = true;
  ask_all();
  CHECK(r.take() == take_result::more);
  CHECK(r.heard.questions.size() == 1);  // longer than a batch by itself
  CHECK(r.take() == take_result::more);
  CHECK(r.heard.questions.size() == 2);
}

TEST_CASE("Names are short, and so is a reason for not starting") {
  rig r;
  r.start();
  outgoing_head head{};
  head.module_size = largest_names;
  head.key_size = 1;
  r.child_words().outgoing[0].copy_from(&head, sizeof head);
  r.put(to_entry(entry_kind::outgoing, 0));
  CHECK(r.take() == take_result::garbage);
  rig other;
  const reply_head reason{troupe_outcome_error, 0, largest_names + 1, 0};
  other.child_words().replies[start_cell].copy_from(&reason, sizeof reason);
  other.put(to_entry(entry_kind::refused, start_cell));
  CHECK(other.take() == take_result::garbage);
}

TEST_CASE("Who replies without taking is found out, also by who only puts") {
  std::deque<call> calls;
  rig r;
  for (std::uint32_t i = 0; i != queue_length + 1 && !r.ring.broken(); ++i) {
    calls.emplace_back();
    const auto ticket = r.ring.begin(calls.back(), false);
    REQUIRE(ticket.has_value());
    if (r.ring.broken()) break;
    r.reply(ticket->cell, "done");
    REQUIRE(r.take() == take_result::all);
  }
  CHECK(r.ring.broken());
  CHECK_FALSE(r.ring.has_more());
  CHECK(r.take() == take_result::garbage);
}

TEST_CASE("A reply longer than the host takes ends its call, and nothing is copied") {
  const shared_memory host("host", file_size<host_file>, peer_may::read);
  const shared_memory child("child", file_size<child_file>, peer_may::write);
  call_ring ring(host, child, 1000);
  call long_one;
  call short_one;
  const auto first = ring.begin(long_one, false);
  const auto second = ring.begin(short_one, false);
  REQUIRE(first.has_value());
  REQUIRE(second.has_value());
  auto& words = *reinterpret_cast<child_file*>(child.data());
  listener heard;
  std::uint32_t tail = 0;
  const auto reply = [&](std::uint32_t cell, std::uint64_t size) {
    const reply_head head{troupe_outcome_value, 0, size, 0};
    words.replies[cell].copy_from(&head, sizeof head);
    words.queue.entries[tail].store(to_entry(entry_kind::reply, cell), order::relaxed);
    words.queue.tail.store(++tail, order::seq_cst);
    return ring.take(heard);
  };
  CHECK(reply(first->cell, 1001) == take_result::all);
  CHECK(long_one.outcome() == "too large: the reply is longer than its host takes");
  CHECK(reply(second->cell, 1000) == take_result::all);
  CHECK(short_one.reply.size() == 1000);
  CHECK(ring.idle());
}

TEST_CASE("What was held for long messages is given back") {
  call big(std::string(3u << 20, 'x'));
  rig r;
  CHECK_FALSE(r.ring.untidy());
  static_cast<void>(r.ring.begin(big, false));
  const std::uint32_t cell = cell_of(r.take_entry());
  r.reply_with(cell, {troupe_outcome_value, 0, 3u << 20, 0});
  CHECK(r.take() == take_result::all);
  CHECK(big.reply.size() == 3u << 20);
  CHECK(r.ring.untidy());
  r.ring.tidy();
  CHECK(r.ring.untidy());
  r.ring.shrink();
  CHECK_FALSE(r.ring.untidy());
}

TEST_CASE("What does not fit is garbage, and settles nothing") {
  call c;
  rig r;
  r.start();
  CHECK(r.heard.text == "started:");
  static_cast<void>(r.ring.begin(c, false));
  const std::uint32_t cell = cell_of(r.take_entry());
  reply_head head{troupe_outcome_value, 0, 0, in_cell};

  SECTION("a tail that is too far") { r.child_words().queue.tail.store(r.tail + queue_length + 1); }
  SECTION("a tail that goes back") { r.child_words().queue.tail.store(r.tail - 1); }
  SECTION("an unknown kind") { r.put(99u << 16); }
  SECTION("a kind of the host's") { r.put(to_entry(entry_kind::call, cell)); }
  SECTION("a cell that does not exist") { r.put(to_entry(entry_kind::reply, 60000)); }
  SECTION("a cell that nobody has") { r.reply(cell + 1, "x"); }
  SECTION("another word of the start") { r.put(to_entry(entry_kind::started, start_cell)); }
  SECTION("a start in another cell") { r.put(to_entry(entry_kind::refused, 3)); }
  SECTION("an outcome that is none") {
    head.outcome = 3;
    r.reply_with(cell, head);
  }
  SECTION("more than fits in a cell") {
    head.size = plain_cell<reply_head>::room + 1;
    r.reply_with(cell, head);
  }
  SECTION("more than a message may have") {
    head.size = largest_message + 1;
    head.block = 0;
    r.reply_with(cell, head);
  }
  SECTION("a block behind the end") {
    head.size = 4096;
    head.block = arena_size - 4095;
    r.reply_with(cell, head);
  }
  SECTION("a block far away") {
    head.size = 16;
    head.block = ~std::uint64_t{0} - 7;
    r.reply_with(cell, head);
  }
  SECTION("an endless question") {
    outgoing_head q{};
    q.payload_size = ~std::uint64_t{0} - 3;
    q.module_size = ~std::uint32_t{0};
    q.block = 0;
    r.child_words().outgoing[0].copy_from(&q, sizeof q);
    r.put(to_entry(entry_kind::outgoing, 0));
  }
  SECTION("names that are longer than the message") {
    outgoing_head q{};
    q.module_size = ~std::uint32_t{0};
    q.block = 0;
    r.child_words().outgoing[0].copy_from(&q, sizeof q);
    r.put(to_entry(entry_kind::outgoing, 0));
  }
  SECTION("the same question twice") {
    outgoing_head q{};
    q.block = in_cell;
    r.child_words().outgoing[5].copy_from(&q, sizeof q);
    r.put(to_entry(entry_kind::outgoing, 5));
    CHECK(r.take() == take_result::all);
    CHECK(r.heard.cells == std::vector<std::uint32_t>{5});
    r.put(to_entry(entry_kind::outgoing, 5));
  }
  SECTION("a reply twice") {
    call other;
    static_cast<void>(r.ring.begin(other, false));
    const std::uint32_t second = cell_of(r.take_entry());
    r.reply(second, "once");
    CHECK(r.take() == take_result::all);
    r.reply(second, "twice");
    CHECK(r.take() == take_result::garbage);
    CHECK(other.outcome() == "value: once");
    CHECK(other.ends == 1);
  }
  CHECK(r.take() == take_result::garbage);
  CHECK(c.ends == 0);
}

TEST_CASE("A question before the start is garbage") {
  rig r;
  outgoing_head q{};
  q.block = in_cell;
  r.child_words().outgoing[0].copy_from(&q, sizeof q);
  r.put(to_entry(entry_kind::outgoing, 0));
  CHECK(r.take() == take_result::garbage);
}

TEST_CASE("Who never takes anything but replies to all fills the queue, and is found out") {
  std::deque<call> calls;
  rig r;
  take_result result = take_result::all;
  std::uint32_t at = 0;
  for (std::uint32_t i = 0; i != 2 * queue_length && result == take_result::all; ++i) {
    calls.emplace_back();
    static_cast<void>(r.ring.begin(calls.back(), false));
    const std::uint32_t entry =
        r.host_words().queue.entries[at % queue_length].load(order::relaxed);
    at = r.host_words().queue.tail.load(order::relaxed);
    r.reply(cell_of(entry), "");
    result = r.take();
  }
  CHECK(result == take_result::garbage);
  CHECK(calls.size() <= queue_length + 2);
}

TEST_CASE("Questions are answered, and large answers find their way back into the arena") {
  rig r;
  r.start();
  const std::string large(1'000'000, 'a');
  for (int round = 0; round != 200; ++round) {
    plain_cell<outgoing_head> out;
    out.head = {};
    out.head.block = in_cell;
    out.head.module_size = 3;
    out.head.function_size = 2;
    out.head.payload_size = 4;
    std::memcpy(out.bytes, "modfnload", 9);
    r.child_words().outgoing[9].copy_from(&out, sizeof out.head + 9);
    r.put(to_entry(entry_kind::outgoing, 9));
    REQUIRE(r.take() == take_result::all);
    REQUIRE(r.heard.questions.back() == "mod/fn/4");
    r.ring.answer(9, troupe_outcome_value, 0,
                  {reinterpret_cast<const unsigned char*>(large.data()), large.size()});
    r.ring.answer(9, troupe_outcome_value, 0, {nullptr, 0});  // once only
    REQUIRE(r.take_entry() == to_entry(entry_kind::answer, 9));
    REQUIRE(r.take_entry() == 0);
    CHECK(r.host_words().answers[9].head.outcome == troupe_outcome_value);
    CHECK(r.host_words().answers[9].head.size == large.size());
  }
  r.ring.tidy();
}

TEST_CASE("Any words in the child's file do no more than end it") {
  std::uint64_t random = 2026;
  for (int round = 0; round != 300; ++round) {
    std::deque<call> calls;
    rig r;
    if (round % 2 == 0) r.start();
    for (int i = 0; i != 20; ++i) {
      calls.emplace_back(std::string(static_cast<std::size_t>(i) * 40, 'x'));
      static_cast<void>(r.ring.begin(calls.back(), false));
    }
    for (int step = 0; step != 40; ++step) {
      auto* const cells = reinterpret_cast<unsigned char*>(&r.child_words().replies[0]);
      for (int i = 0; i != 50; ++i) {
        // Near the beginning, where the cells in use are, and with small numbers among large ones.
        const std::uint64_t where = troupe::splitmix64(random) % (24 * cell_size);
        cells[where] = static_cast<unsigned char>(troupe::splitmix64(random) %
                                                  (troupe::splitmix64(random) % 256 + 1));
      }
      const auto kind = static_cast<std::uint32_t>(troupe::splitmix64(random) % 10);
      const auto cell = static_cast<std::uint32_t>(troupe::splitmix64(random) % 24);
      r.put(kind << 16 | (troupe::splitmix64(random) % 20 == 0 ? start_cell : cell));
      if (r.take() == take_result::garbage) break;
    }
    r.ring.shut();
    r.ring.end(troupe::errc::worker_crashed, "garbage");
    for (const call& c : calls) CHECK(c.ends == 1);
  }
}

TEST_CASE("Threads that call, one that replies, one that takes: each call ends once") {
  constexpr int threads = 3;
  constexpr int each = 3000;
  std::deque<std::deque<call>> calls(threads);
  rig r;
  std::vector<std::thread> callers;
  troupe::detail::atomic<int> left{threads * each};
  for (int t = 0; t != threads; ++t) {
    for (int i = 0; i != each; ++i) {
      calls[static_cast<std::size_t>(t)].emplace_back(
          std::string(static_cast<std::size_t>(i % 5) * 100, 'p'));
    }
    callers.emplace_back([&, t] {
      for (call& c : calls[static_cast<std::size_t>(t)]) {
        const bool look = c.id % 2 == 0;
        const auto ticket = r.ring.begin(c, look);
        if (look && ticket) r.ring.look_away();
        if (c.id % 16 == 0) r.ring.stop(c.id);
      }
    });
  }
  std::thread replier([&] {
    while (left.load(order::relaxed) != 0) {
      const std::uint32_t entry = r.take_entry();
      if (entry == 0) {
        std::this_thread::yield();
      } else if (kind_of(entry) == static_cast<std::uint32_t>(entry_kind::call)) {
        r.reply(cell_of(entry), "ok");
        left.fetch_sub(1, order::relaxed);
      }
    }
  });
  while (r.ring.taken() != threads * each) {
    REQUIRE(r.take() != take_result::garbage);
    std::this_thread::yield();
  }
  for (std::thread& one : callers) one.join();
  replier.join();
  for (const auto& some : calls) {
    for (const call& c : some) {
      CHECK(c.ends == 1);
      CHECK(c.reply == "ok");
    }
  }
}
