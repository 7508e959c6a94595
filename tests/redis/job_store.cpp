// SPDX-License-Identifier: MIT
// Jobs in Redis, as several processes have them in common.

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "job_kit.hpp"
#include "tcp_proxy.hpp"

namespace redis_job_store_tests {
namespace {

using namespace std::chrono_literals;
using namespace redis_tests;
using troupe::errc;
using troupe::job_commit;
using troupe::job_delivery;
using troupe::job_id;
using troupe::job_outcome;
using troupe::job_request;
using troupe::job_state;

/// Takes and commits until it is closed: the result is the params, twice.
troupe::task<> serve(troupe::job_taker& t, std::atomic<int>& committed) {
  for (;;) {
    std::optional<job_delivery> d = co_await t.take();
    if (!d) co_return;
    const std::string params(d->request->params.view());
    for (int i = 0; i != 100; ++i) {
      job_commit c = job_result(params + params);
      auto committing = troupe::as_result(t.commit(d->id, d->fence, std::move(c)));
      const troupe::result<bool> done = co_await std::move(committing);
      if (!done.has_value()) continue;  // not known: said again
      if (*done) ++committed;
      break;
    }
  }
}

std::string what_of(const std::exception_ptr& e) {
  try {
    std::rethrow_exception(e);
  } catch (const std::exception& known) {
    return known.what();
  }
}

/// Adds and waits, one behind the other. How many had the right end.
troupe::task<> ask_many(troupe::job_store& s, std::string name, int many, std::atomic<int>& right) {
  for (int i = 0; i != many; ++i) {
    const std::string params = name + std::to_string(i) + '.';
    job_request r = job(params);
    if (i % 2 == 0) r.keep = troupe::duration::zero();
    auto running = troupe::as_result(s.run(std::move(r)));
    const troupe::result<job_outcome> end = co_await std::move(running);
    if (!end.has_value()) {
      std::fprintf(stderr, "%s has failed: %s\n", params.c_str(), what_of(end.error()).c_str());
      continue;
    }
    if (end->state == job_state::completed && end->result.view() == params + params) ++right;
  }
}

troupe::task<> tend(troupe::job_store& s) {
  for (;;) {
    auto sweeping = troupe::as_result(s.sweep());
    static_cast<void>(co_await std::move(sweeping));
    co_await troupe::sleep_for(50ms);
  }
}

}  // namespace

TEST_CASE("redis jobs: one process adds, others take; who waits hears of the end", "[redis][job]") {
  redis_server server;
  job_process client(server.port());
  job_process other(server.port());
  std::atomic<int> committed = 0;
  std::atomic<int> right = 0;
  const auto near_taker = client.taker("near one");
  const auto far_taker = other.taker("far one");
  const auto far = [&]() -> troupe::task<> {
    troupe::task_scope slots;
    for (int i = 0; i != 4; ++i) slots.spawn(serve(*far_taker, committed));
    co_await slots.join();
  };
  const auto here = [&]() -> troupe::task<> {
    troupe::task_scope slots;
    for (int i = 0; i != 2; ++i) slots.spawn(serve(*near_taker, committed));
    troupe::task_scope callers;
    for (int i = 0; i != 8; ++i)
      callers.spawn(ask_many(client.store, std::to_string(i) + '-', 50, right));
    co_await callers.join();
    near_taker->close();
    far_taker->close();
    co_await slots.join();
  };
  std::thread apart([&] { other.run(far()); });
  client.run(here());
  apart.join();
  CHECK(right == 400);
  CHECK(committed == 400);
  const troupe::job_counts c = client.run(client.store.counts());
  CHECK(c[job_state::completed] == 200);
  CHECK(c[job_state::active] + c[job_state::waiting] == 0);
}

TEST_CASE("redis jobs: connections that are reset lose nothing and do nothing twice",
          "[redis][job]") {
  redis_server server;
  tcp_proxy proxy(server.port());
  job_process client(job_options(proxy.port()));
  job_process worker(job_options(proxy.port()));
  std::atomic<int> committed = 0;
  std::atomic<int> right = 0;
  const auto t = worker.taker();
  const auto work = [&]() -> troupe::task<> {
    troupe::task_scope slots;
    for (int i = 0; i != 4; ++i) slots.spawn(serve(*t, committed));
    co_await slots.join();
  };
  const auto ask = [&]() -> troupe::task<> {
    troupe::task_scope callers;
    for (int i = 0; i != 8; ++i)
      callers.spawn(ask_many(client.store, std::to_string(i) + '-', 40, right));
    co_await callers.join();
    t->close();
  };
  std::atomic<bool> is_over = false;
  std::thread working([&] { worker.run(work()); });
  std::thread cutting([&] {
    for (int i = 0; i != 40 && !is_over; ++i) {
      std::this_thread::sleep_for(30ms);
      proxy.reset();
    }
  });
  client.run(ask());
  is_over = true;
  working.join();
  cutting.join();
  CHECK(right == 320);
  CHECK(committed <= 320);
  const troupe::job_counts c = client.run(client.store.counts());
  CHECK(c[job_state::completed] == 160);
  CHECK(c[job_state::active] + c[job_state::waiting] + c[job_state::dead] == 0);
}

TEST_CASE("redis jobs: a server that is killed and comes back has lost nothing it has promised",
          "[redis][job]") {
  redis_server server({"--appendfsync", "always"});
  job_process client(server.port());
  job_process worker(server.port());
  std::atomic<int> committed = 0;
  std::atomic<int> right = 0;
  const auto t = worker.taker();
  const auto work = [&]() -> troupe::task<> {
    troupe::task_scope tending;
    tending.spawn(tend(worker.store));
    troupe::task_scope slots;
    for (int i = 0; i != 4; ++i) slots.spawn(serve(*t, committed));
    co_await slots.join();
    tending.request_stop();
    auto ending = troupe::as_result(tending.join());
    static_cast<void>(co_await std::move(ending));
  };
  const auto ask = [&]() -> troupe::task<> {
    troupe::task_scope callers;
    for (int i = 0; i != 8; ++i)
      callers.spawn(ask_many(client.store, std::to_string(i) + '-', 40, right));
    co_await callers.join();
    t->close();
  };
  std::thread working([&] { worker.run(work()); });
  std::thread asking([&] { client.run(ask()); });
  for (int i = 0; i != 3; ++i) {  // here: a server dies with the thread that has started it
    std::this_thread::sleep_for(100ms);
    server.restart();
  }
  asking.join();
  working.join();
  CHECK(right == 320);
  CHECK(committed <= 320);
  CHECK(client.run(client.store.counts())[job_state::completed] == 160);
}

TEST_CASE("redis jobs: an emptied server is another store", "[redis][job]") {
  redis_server server;
  job_process p(server.port());
  const job_id id = p.add(job());
  const auto emptied = [&]() -> troupe::task<> {
    co_await troupe::sleep_for(200ms);
    server.said("FLUSHALL");
  };
  const auto wait = [&]() -> troupe::task<> {
    troupe::task_scope scope;
    scope.spawn(emptied());
    static_cast<void>(co_await p.store.settled(id));
  };
  CHECK(p.code_of(wait()) == errc::network_reset);
  CHECK(p.code_of(p.store.get(id)) == errc::network_reset);
  const job_id fresh = p.add(job("again"));
  CHECK(fresh.epoch != id.epoch);
  const auto t = p.taker();
  CHECK(p.take(*t).id == fresh);
}

TEST_CASE("redis jobs: payloads of any kind and size", "[redis][job]") {
  redis_server server;
  job_process client(server.port());
  job_process worker(server.port());
  const auto t = worker.taker();
  std::atomic<int> committed = 0;
  const auto work = [&]() -> troupe::task<> { co_await serve(*t, committed); };
  std::thread working([&] { worker.run(work()); });
  const std::vector<std::string> all{"", std::string("\0\xff\xfe\r\n@", 6),
                                     std::string(300'000, 'x'), std::string(24 << 20, 'y')};
  for (const std::string& params : all) {
    const job_outcome end = client.run(client.store.run(job(params)));
    CHECK(end.state == job_state::completed);
    CHECK((end.result.view() == params + params));
  }
  t->close();
  working.join();
  CHECK(committed == 4);
}

TEST_CASE("redis jobs: cancelling, news and leases reach other processes", "[redis][job]") {
  redis_server server;
  job_process client(server.port());
  job_process worker(server.port());
  const auto t = worker.taker();
  job_request r = job("p");
  r.lease = 1s;
  const job_id id = client.add(r);
  const job_delivery d = worker.take(*t);
  CHECK(d.id == id);
  troupe::job_news n = client.run(client.store.news(id, 0));
  CHECK(n.state == job_state::active);

  CHECK(t->write(id, d.fence, true, troupe::shared_bytes("10 %")));
  CHECK(t->write(id, d.fence, false, troupe::shared_bytes("a")));
  CHECK_FALSE(t->write(id, d.fence + 1, false, troupe::shared_bytes("a")));
  CHECK_FALSE(t->write(id, d.fence, false, troupe::shared_bytes(std::string(2 << 20, 'x'))));
  while (n.output.empty()) n = client.run(client.store.news(id, n.number));
  CHECK(n.output[0].body.view() == "a");

  CHECK(client.run(client.store.cancel(id)));
  worker.run(t->notice());
  CHECK(worker.run(t->renew(id, d.fence)) == troupe::job_hold::stop_asked);
  CHECK(worker.commit(*t, d, job_end(job_commit::cancelled)));
  CHECK_FALSE(worker.commit(*t, d, job_result("late")));
  CHECK(client.run(client.store.settled(id)).state == job_state::cancelled);

  const job_id lost = client.add(r);
  const job_delivery first = worker.take(*t);
  const auto sweep = [&]() -> troupe::task<> {
    for (;;) {
      const troupe::job_counts c = co_await client.store.counts();
      if (c[job_state::active] == 0) co_return;
      static_cast<void>(co_await client.store.sweep());
      co_await troupe::sleep_for(20ms);
    }
  };
  client.run(sweep());
  CHECK(client.info(lost)->losses == 1);
  const auto other = client.taker("two");
  const job_delivery second = client.take(*other);
  CHECK(second.fence > first.fence);
  CHECK(second.losses == 1);
  CHECK(worker.run(t->renew(lost, first.fence)) == troupe::job_hold::lost);
  CHECK_FALSE(worker.commit(*t, first, job_result("late")));
  CHECK(client.commit(*other, second, job_result("in time")));
}

TEST_CASE("redis jobs: one that becomes due sooner wakes who waits for that", "[redis][job]") {
  redis_server server;
  job_process tending(server.port());
  job_process client(server.port());
  CHECK(tending.run(tending.store.sweep()) == troupe::never);
  const auto wait = [&]() -> troupe::task<> { co_await tending.store.due_before(troupe::never); };
  std::thread waiting([&] { tending.run(wait()); });
  job_request r = job();
  r.delay = 1h;
  client.add(r);
  waiting.join();
  const troupe::time_point due = tending.run(tending.store.sweep());
  const troupe::duration left = due - tending.broker.runs_on().now();
  CHECK(left <= 1h);
  CHECK(left > 50min);
}

TEST_CASE("redis jobs: other versions and full servers are refused by name", "[redis][job]") {
  redis_server server;
  job_process p(server.port());
  p.add(job());
  SECTION("a full server") {
    server.said("CONFIG SET maxmemory 1");
    const auto t = p.taker();
    const auto added = p.run(troupe::as_result(p.store.add(job())));
    CHECK(added.code() == errc::mailbox_full);
    CHECK(p.commit(*t, p.take(*t), job_result("r")));  // what is there can be finished
  }
  SECTION("as many jobs as there may be") {
    job_process bounded(job_options(server.port()), {2, 100, 100, 1 << 20, 1024});
    bounded.add(job());
    CHECK(bounded.code_of(bounded.store.add(job())) == errc::mailbox_full);
  }
  SECTION("another version") {
    server.said("SETRANGE troupe:{troupe}:jobs:meta 3 9");
    const auto added = p.run(troupe::as_result(p.store.add(job())));
    CHECK(added.code() == errc::refused);
    try {
      static_cast<void>(added.value());
    } catch (const troupe::error& e) {
      CHECK(std::string(e.what()).find("version 57") != std::string::npos);
    }
  }
}

TEST_CASE("redis jobs: requests that cannot be are refused; ids that never were", "[redis][job]") {
  redis_server server;
  job_process p(server.port());
  job_request r = job();
  r.attempts = 0;
  CHECK_THROWS_AS(p.add(r), std::invalid_argument);
  const job_id id = p.add(job());
  CHECK(p.code_of(p.store.settled({id.epoch, id.number + (std::uint64_t{1} << 40)})) ==
        errc::refused);
  CHECK(p.code_of(p.store.settled({id.epoch, 0})) == errc::refused);
  CHECK(p.code_of(p.store.settled({id.epoch + 1, id.number})) == errc::network_reset);
  const auto t = p.taker();
  CHECK(p.commit(*t, p.take(*t)));
  CHECK(p.run(p.store.purge(id)));
  CHECK(p.code_of(p.store.settled(id)) == errc::result_lost);
}

}  // namespace redis_job_store_tests
