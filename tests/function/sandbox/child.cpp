// SPDX-License-Identifier: MIT
// A module in a process does what a module does: calls, stops, timers, calls of others, the end.

#include <support/catch.hpp>

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <string>

#include "subject.hpp"

using subject::running;

TEST_CASE("A process gives way to others, and its processor time is known") {
  troupe::module_permissions permissions;
  permissions.niceness = 5;
  subject::running nice("subject", permissions);
  const int own = ::getpriority(PRIO_PROCESS, 0);
  CHECK(::getpriority(PRIO_PROCESS, static_cast<id_t>(nice->process_id())) ==
        (std::min)(own + 5, 19));
  CHECK(nice.ask("work", "50") == "value: worked");
  CHECK(nice->processor_time() >= std::chrono::milliseconds(1));
  CHECK(nice->processor_time() < std::chrono::seconds(60));
  subject::running equal;
  CHECK(::getpriority(PRIO_PROCESS, static_cast<id_t>(equal->process_id())) == own);
}

TEST_CASE("A module in a process says what it has") {
  running m;
  const troupe::module_manifest& manifest = m->manifest();
  CHECK(manifest.name == "subject");
  CHECK(manifest.version == "v1.0.0");
  CHECK(manifest.build == "by hand");
  CHECK(manifest.formats == 3);
  REQUIRE(manifest.find("echo") == 0u);
  CHECK(manifest.functions[0].parameters == 1);
  CHECK(manifest.functions[0].result == 2);
  CHECK(m->kept() == troupe::isolation::process);
  CHECK(m->memory() > 0);
}

TEST_CASE("Calls come back from a process as they are") {
  running m;
  CHECK(m.ask("echo") == "value: ");
  CHECK(m.ask("echo", std::string("\0null", 5)) == "value: " + std::string("\0null", 5));
  CHECK(m.ask("who") == "value: a key|the test");
  CHECK(m.ask("fail") == "exception: " + std::string("std::runtime_error\0no", 21));
  for (const std::size_t size : {1U, 199U, 200U, 201U, 231U, 232U, 233U, 4096U, 100'000U}) {
    const std::string text(size, 'x');
    CHECK(m.ask("echo", text) == "value: " + text);
  }
  CHECK(m.ask("count") == "value: 1");
  CHECK(m.ask("count") == "value: 2");
  CHECK(m.ask("posted") == "value: posted");
  CHECK(m.ask("later", "20") == "value: woken");
}

TEST_CASE("Megabytes go there and back, and too many are refused by name") {
  running m;
  std::string text(8'000'000, 'a');
  for (std::size_t i = 0; i < text.size(); i += 977) text[i] = static_cast<char>(i);
  CHECK(m.ask("echo", text) == "value: " + text);
  CHECK(m.ask("echo", text) == "value: " + text);
  CHECK(m.ask("big", "30000000").size() == 30'000'007);
  CHECK(m.ask("big", "40000000") == "too large: the reply is longer than a message may be");
  CHECK(m.ask("size_of", std::string(33 << 20, 'x')) ==
        "too large: the call is longer than a message may be");
  CHECK(m.ask("count") == "value: 1");
}

TEST_CASE("Many calls are in flight at once, more than there are cells") {
  running m;
  std::deque<subject::call> calls;
  for (int i = 0; i != 3000; ++i) {
    calls.emplace_back(std::to_string(i));
    m.start(calls.back(), "echo");
  }
  for (int i = 0; i != 3000; ++i) {
    REQUIRE(calls[static_cast<std::size_t>(i)].ended.wait());
    CHECK(calls[static_cast<std::size_t>(i)].outcome() == "value: " + std::to_string(i));
  }
}

TEST_CASE("Large calls wait for room in the shared memory, and all come back") {
  running m;
  std::deque<subject::call> calls;
  for (int i = 0; i != 24; ++i) {
    calls.emplace_back(std::string(7'000'000, static_cast<char>('a' + i)));
    m.start(calls.back(), "echo");
  }
  for (subject::call& c : calls) {
    REQUIRE(c.ended.wait());
    CHECK(c.reply.size() == 7'000'000);
    CHECK(c.how == troupe_outcome_value);
  }
}

TEST_CASE("A call that waits in the module is stopped alone") {
  running m;
  subject::call first;
  subject::call second;
  m.start(first, "keep");
  m.start(second, "keep");
  CHECK(m.ask("count") == "value: 1");
  m->stop(first.id);
  m->stop(12345678);
  REQUIRE(first.ended.wait());
  CHECK(first.outcome() == "value: stopped");
  CHECK(second.outcome() == "nothing");
  m->stop(first.id);
  CHECK(m.ask("release") == "value: done");
  REQUIRE(second.ended.wait());
  CHECK(second.outcome() == "value: released");
}

TEST_CASE("A module calls others if it may, and is refused by name if not") {
  using namespace std::string_literals;
  running refused;
  CHECK(refused.ask("ask", "calculator\0hello"s) ==
        "value: 2," + std::to_string(static_cast<int>(troupe::errc::refused)) +
            ",the module may not call that one");
  troupe::module_permissions some;
  some.may_call = {"calculator", "text"};
  running permitted("subject", some);
  CHECK(permitted.ask("ask", "calculator\0hello"s) == "value: 0,0,calculator/v9/func/key/5");
  CHECK(permitted.ask("ask", "calculato\0hello"s).find("may not call") != std::string::npos);
  CHECK(permitted.ask("ask", "text\0"s + std::string(3'000'000, 'p')) ==
        "value: 0,0,text/v9/func/key/3000000");
  troupe::module_permissions any;
  any.may_call = {"*"};
  running all("subject", any);
  CHECK(all.ask("ask", "anybody\0x"s) == "value: 0,0,anybody/v9/func/key/1");
  // More at once than there are cells for them.
  std::deque<subject::call> calls;
  for (int i = 0; i != 700; ++i) {
    calls.emplace_back("anybody\0x"s);
    all.start(calls.back(), "ask");
  }
  for (subject::call& c : calls) {
    REQUIRE(c.ended.wait());
    CHECK(c.outcome() == "value: 0,0,anybody/v9/func/key/1");
  }
}

TEST_CASE("An instance that is closed ends by itself, with its calls") {
  running m;
  subject::call kept;
  m.start(kept, "keep");
  CHECK(m.ask("count") == "value: 1");
  m->close();
  REQUIRE(kept.ended.wait());
  CHECK(kept.outcome() == "value: closed");
  REQUIRE(m.owner().end.wait());
  CHECK(m.owner().failures == 0);
  CHECK(m.owner().ends == 1);
  CHECK(m.ask("echo") == "given back");
}

TEST_CASE("A killed instance settles what it has begun and gives the rest back") {
  running m;
  subject::call begun;
  m.start(begun, "loop");
  std::deque<subject::call> others;
  for (int i = 0; i != 1500; ++i) {
    others.emplace_back();
    m.start(others.back(), "echo");
  }
  // Until it has begun: the module does not say so, but takes some time.
  while (m->process_id() == 0) std::this_thread::yield();
  const auto until = troupe::steady_now() + subject::patience;
  for (;;) {  // the processor time of the child tells
    const std::string path = "/proc/" + std::to_string(m->process_id()) + "/schedstat";
    std::FILE* const file = std::fopen(path.c_str(), "r");
    unsigned long long ran = 0;
    if (file != nullptr) {
      if (std::fscanf(file, "%llu", &ran) != 1) ran = 0;
      std::fclose(file);
    }
    if (ran > 30'000'000 || troupe::steady_now() > until) break;
    std::this_thread::yield();
  }
  CHECK(m->kill(troupe::errc::worker_stalled, "it took too long"));
  CHECK(m->kill(troupe::errc::timed_out, "again"));
  REQUIRE(m.owner().end.wait());
  CHECK(begun.outcome() == "worker stalled: it took too long");
  for (subject::call& c : others) CHECK(c.outcome() == "given back");
  CHECK(begun.ends == 1);
  CHECK(m.owner().failures == 0);
}
