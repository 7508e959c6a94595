// SPDX-License-Identifier: MIT
// Jobs held in common, as instruments, clients and composers see them.

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <troupe.hpp>
#include <troupe/net.hpp>

namespace job_store_tests {
namespace {

using namespace std::chrono_literals;
using troupe::errc;
using troupe::job_commit;
using troupe::job_delivery;
using troupe::job_hold;
using troupe::job_id;
using troupe::job_request;
using troupe::job_state;

struct world {
  troupe::sim_executor sim;
  troupe::memory_network net;
  troupe::job_store& store = net.jobs();

  explicit world(const troupe::memory_network_options& options = {}, std::uint64_t seed = 1)
      : sim(troupe::sim_options{.seed = seed}), net(sim, options) {}

  template <class T>
  T run(troupe::task<T> t) {
    return sim.run(std::move(t));
  }
  std::unique_ptr<troupe::job_taker> taker(std::string name = "one",
                                           std::vector<troupe::job_script> scripts = {{"a", 1}}) {
    return store.open_taker(std::move(name), std::move(scripts));
  }
  job_id add(job_request r) { return run(store.add(std::move(r))); }
  job_delivery take(troupe::job_taker& t) { return *run(t.take()); }
  std::string take_params(troupe::job_taker& t) {
    return std::string(take(t).request->params.view());
  }
  bool nothing_to_take(troupe::job_taker& t) {
    return run(troupe::as_result(troupe::within(t.take(), 1ms))).code() == errc::timed_out;
  }
  bool commit(troupe::job_taker& t, const job_delivery& d, job_commit c = {}) {
    return run(t.commit(d.id, d.fence, std::move(c)));
  }
  troupe::job_info info(job_id id) { return *run(store.get(id)); }
  bool is_known(job_id id) { return run(store.get(id)).has_value(); }
  void pass(troupe::duration d) {
    sim.advance(d);
    run(store.sweep());
  }
};

job_request request(std::string params = {}, std::string script = "a") {
  job_request r;
  r.script = std::move(script);
  r.params = troupe::shared_bytes(std::move(params));
  return r;
}
job_commit result(std::string text) {
  job_commit c;
  c.result = troupe::shared_bytes(std::move(text));
  return c;
}
job_commit of_kind(job_commit::kind_of kind, troupe::duration after = {}) {
  job_commit c;
  c.kind = kind;
  c.after = after;
  troupe::job_error why;
  why.text = "no";
  c.error = std::make_shared<const troupe::job_error>(std::move(why));
  return c;
}
errc code_of(troupe::task<> t, world& w) {
  const troupe::result<> r = w.run(troupe::as_result(std::move(t)));
  return static_cast<errc>(r.code().value());
}
troupe::task<> settle(troupe::job_store& s, job_id id) {
  static_cast<void>(co_await s.settled(id));
}

}  // namespace

TEST_CASE("job_store: a job is added, taken, committed, and its result is known", "[net][job]") {
  world w;
  const auto t = w.taker();
  const job_id id = w.add(request("p"));
  CHECK(w.info(id).state == job_state::waiting);
  const job_delivery d = w.take(*t);
  CHECK(d.id == id);
  CHECK(d.request->params.view() == "p");
  CHECK(d.attempt == 1);
  CHECK(w.info(id).state == job_state::active);
  CHECK(w.info(id).holder == "one");
  CHECK(w.commit(*t, d, result("r")));
  CHECK_FALSE(w.commit(*t, d, result("another")));  // once
  const troupe::job_outcome end = w.run(w.store.settled(id));
  CHECK(end.state == job_state::completed);
  CHECK(end.result.view() == "r");
  w.pass(2h);  // beyond its time to live
  CHECK_FALSE(w.is_known(id));
  CHECK(code_of(settle(w.store, id), w) == errc::result_lost);
}

TEST_CASE("job_store: ids that never were, or are of another store", "[net][job]") {
  world w;
  job_id id = w.add(request());
  CHECK(troupe::parse_job_id(troupe::to_string(id)) == id);
  CHECK_FALSE(troupe::parse_job_id("1-").has_value());
  CHECK_FALSE(troupe::parse_job_id("x-1").has_value());
  CHECK_FALSE(troupe::parse_job_id("1-2x").has_value());
  CHECK(code_of(settle(w.store, {id.epoch, id.number + (1u << 30)}), w) == errc::refused);
  CHECK(code_of(settle(w.store, {id.epoch, 0}), w) == errc::refused);
  CHECK(code_of(settle(w.store, {id.epoch + 1, id.number}), w) == errc::network_reset);
}

TEST_CASE("job_store: ahead before priority before age; unknown scripts and versions wait",
          "[net][job]") {
  world w;
  w.add(request("old"));
  job_request r = request("high");
  r.priority = 2;
  w.add(r);
  r = request("low");
  r.priority = -1;
  w.add(r);
  r = request("first");
  r.ahead = true;
  w.add(r);
  w.add(request("young"));
  w.add(request("other", "b"));
  r = request("newer");
  r.version = 2;
  w.add(r);
  const auto t = w.taker();
  std::string order;
  for (int i = 0; i != 5; ++i) order += w.take_params(*t) + ' ';
  CHECK(order == "first high old young low ");
  CHECK(w.nothing_to_take(*t));
  const auto both = w.taker("two", {{"a", 2}, {"b", 1}});
  CHECK(w.take_params(*both) == "other");
  CHECK(w.take_params(*both) == "newer");
}

TEST_CASE("job_store: keys share fairly, and at most so many of one run together", "[net][job]") {
  world w;
  for (int i = 0; i != 4; ++i) {
    job_request r = request("x" + std::to_string(i));
    r.key = "x";
    w.add(r);
  }
  for (int i = 0; i != 2; ++i) {
    job_request r = request("y" + std::to_string(i));
    r.key = "y";
    w.add(r);
  }
  w.add(request("z0"));
  const auto t = w.taker();
  std::string order;
  for (int i = 0; i != 7; ++i) order += w.take_params(*t) + ' ';
  CHECK(order == "x0 y0 z0 x1 y1 x2 x3 ");

  for (int i = 0; i != 3; ++i) {
    job_request r = request("l" + std::to_string(i));
    r.key = "limited";
    r.together = 1;
    w.add(r);
  }
  const job_delivery first = w.take(*t);
  CHECK(first.request->params.view() == "l0");
  CHECK(w.nothing_to_take(*t));
  CHECK(w.commit(*t, first));
  CHECK(w.take_params(*t) == "l1");
  CHECK(w.nothing_to_take(*t));
  job_request more = request("l3");
  more.key = "limited";
  more.together = 2;
  w.add(more);
  CHECK(w.take_params(*t) == "l2");
  CHECK(w.nothing_to_take(*t));
}

TEST_CASE("job_store: failures are tried again, later, until they are dead", "[net][job]") {
  world w;
  const auto t = w.taker();
  job_request r = request();
  r.attempts = 2;
  const job_id id = w.add(r);
  CHECK(w.commit(*t, w.take(*t), of_kind(job_commit::failed, 1s)));
  CHECK(w.info(id).state == job_state::delayed);
  w.pass(900ms);
  CHECK(w.info(id).state == job_state::delayed);
  w.pass(100ms);
  const job_delivery second = w.take(*t);
  CHECK(second.attempt == 2);
  CHECK(second.failures == 1);
  CHECK(w.commit(*t, second, of_kind(job_commit::failed, 1s)));
  CHECK(w.info(id).state == job_state::dead);
  CHECK(w.info(id).error->text == "no");
  CHECK(w.run(w.store.requeue(id)));
  CHECK_FALSE(w.run(w.store.requeue(id)));
  const job_delivery again = w.take(*t);
  CHECK(again.failures == 0);
  CHECK(w.commit(*t, again));

  const job_id hopeless = w.add(r);
  CHECK(w.commit(*t, w.take(*t), of_kind(job_commit::refused)));
  CHECK(w.info(hopeless).state == job_state::dead);
  w.pass(24h);
  CHECK(w.is_known(hopeless));  // until somebody has looked at it
  CHECK(w.run(w.store.purge(hopeless)));
  CHECK_FALSE(w.is_known(hopeless));

  const job_id given_back = w.add(r);
  CHECK(w.commit(*t, w.take(*t), of_kind(job_commit::released)));
  CHECK(w.take(*t).attempt == 1);
  CHECK(w.info(given_back).failures == 0);
}

TEST_CASE("job_store: who is silent for a lease has lost the job; what kills too many is dead",
          "[net][job]") {
  world w;
  const auto one = w.taker("one");
  const auto two = w.taker("two");
  job_request r = request();
  r.lease = 1s;
  r.losses = 2;
  const job_id id = w.add(r);
  const job_delivery first = w.take(*one);
  w.pass(900ms);
  CHECK(w.run(one->renew(id, first.fence)) == job_hold::held);
  w.pass(900ms);
  CHECK(w.nothing_to_take(*two));
  w.pass(100ms);
  const job_delivery second = w.take(*two);
  CHECK(second.fence > first.fence);
  CHECK(w.run(one->renew(id, first.fence)) == job_hold::lost);
  CHECK_FALSE(w.commit(*one, first, result("late")));
  CHECK_FALSE(one->write(id, first.fence, true, troupe::shared_bytes("late")));
  CHECK(w.commit(*two, second, of_kind(job_commit::crashed)));
  CHECK(w.info(id).state == job_state::dead);
  CHECK(w.info(id).losses == 2);
}

TEST_CASE("job_store: cancelling", "[net][job]") {
  world w;
  const auto t = w.taker();
  const job_id waiting = w.add(request());
  CHECK(w.run(w.store.cancel(waiting)));
  CHECK_FALSE(w.run(w.store.cancel(waiting)));
  CHECK(w.run(w.store.settled(waiting)).state == job_state::cancelled);
  job_request r = request();
  r.delay = 1h;
  const job_id delayed = w.add(r);
  CHECK(w.run(w.store.cancel(delayed)));
  CHECK(w.info(delayed).state == job_state::cancelled);
  CHECK(w.nothing_to_take(*t));

  const job_id running = w.add(request());
  const job_delivery d = w.take(*t);
  CHECK(w.run(w.store.cancel(running)));
  w.run(t->notice());
  CHECK(w.run(t->renew(running, d.fence)) == job_hold::stop_asked);
  CHECK(w.commit(*t, d, of_kind(job_commit::failed)));  // wanted no more: not tried again
  CHECK(w.info(running).state == job_state::cancelled);
}

TEST_CASE("job_store: the same job once, by its key", "[net][job]") {
  world w;
  const auto t = w.taker();
  job_request r = request();
  r.once = "order 7";
  const job_id id = w.add(r);
  CHECK(w.add(r) == id);
  CHECK(w.commit(*t, w.take(*t), result("r")));
  CHECK(w.add(r) == id);
  CHECK(w.run(w.store.run(r)).result.view() == "r");
  job_request other = request({}, "b");
  other.once = "order 7";
  CHECK(w.add(other) != id);
  w.pass(2h);
  CHECK(w.add(r) != id);
}

TEST_CASE("job_store: progress and output are told, within bounds", "[net][job]") {
  world w;
  const auto t = w.taker();
  const job_id id = w.add(request());
  const job_delivery d = w.take(*t);
  CHECK(t->write(id, d.fence, true, troupe::shared_bytes("10 %")));
  CHECK(t->write(id, d.fence, false, troupe::shared_bytes("a")));
  CHECK(t->write(id, d.fence, true, troupe::shared_bytes("20 %")));
  troupe::job_news news = w.run(w.store.news(id, 0));
  CHECK(news.progress->view() == "20 %");
  REQUIRE(news.output.size() == 1);
  CHECK(news.output[0].body.view() == "a");
  CHECK(w.run(troupe::as_result(troupe::within(w.store.news(id, news.number), 1ms))).code() ==
        errc::timed_out);
  int taken = 1;
  while (taken != 5000 && t->write(id, d.fence, false, troupe::shared_bytes("b"))) ++taken;
  CHECK(taken == 1024);
  news = w.run(w.store.news(id, news.number));
  CHECK_FALSE(news.progress.has_value());
  CHECK(news.output.size() == 1023);
  CHECK_FALSE(t->write(id, d.fence, true, troupe::shared_bytes(std::string(2 << 20, 'x'))));
  CHECK(w.commit(*t, d));
  CHECK(w.run(w.store.news(id, news.number)).state == job_state::completed);
}

TEST_CASE("job_store: what nobody waits for and is not to be kept is forgotten", "[net][job]") {
  world w;
  const auto t = w.taker();
  job_request r = request();
  r.keep = troupe::duration::zero();
  const job_id id = w.add(r);
  CHECK(w.commit(*t, w.take(*t)));
  CHECK_FALSE(w.is_known(id));
  CHECK(w.run(w.store.counts())[job_state::completed] == 0);
}

TEST_CASE("job_store: all jobs are bounded, and so are those that have ended", "[net][job]") {
  world w({.jobs = 512, .ended_jobs = 10, .dead_jobs = 5});
  const auto t = w.taker();
  std::vector<job_id> ids;
  for (int i = 0; i != 512; ++i) ids.push_back(w.add(request()));
  CHECK(w.run(troupe::as_result(w.store.add(request()))).code() == errc::mailbox_full);
  for (int i = 0; i != 100; ++i) CHECK(w.commit(*t, w.take(*t)));
  CHECK(w.run(w.store.counts())[job_state::completed] == 10);
  CHECK_FALSE(w.is_known(ids[89]));
  CHECK(w.is_known(ids[90]));
  for (int i = 0; i != 100; ++i) CHECK(w.commit(*t, w.take(*t), of_kind(job_commit::refused)));
  CHECK(w.run(w.store.counts())[job_state::dead] == 5);
  for (int i = 0; i != 185; ++i) w.add(request());
  CHECK(w.run(w.store.counts())[job_state::completed] == 10);
  w.add(request());  // it takes the place of one that has ended
  CHECK(w.run(w.store.counts())[job_state::completed] == 9);
}

TEST_CASE("job_store: of those that have ended the first are forgotten first, however they have",
          "[net][job]") {
  world w({.jobs = 512, .ended_jobs = 10});
  const auto t = w.taker();
  std::vector<job_id> ids;
  for (int i = 0; i != 12; ++i) ids.push_back(w.add(request()));
  for (int i = 0; i != 10; ++i) CHECK(w.commit(*t, w.take(*t)));
  CHECK(w.run(w.store.cancel(ids[10])));
  CHECK(w.is_known(ids[10]));
  CHECK_FALSE(w.is_known(ids[0]));
  CHECK(w.run(w.store.cancel(ids[11])));
  CHECK(w.is_known(ids[11]));
  CHECK_FALSE(w.is_known(ids[1]));
}

TEST_CASE("job_store: lists by state, page by page", "[net][job]") {
  world w;
  for (int i = 0; i != 25; ++i) w.add(request(std::to_string(i)));
  const auto t = w.taker();
  std::string all;
  std::optional<job_id> from;
  int pages = 0;
  do {
    const troupe::job_page page = w.run(w.store.list(job_state::waiting, from, 10));
    for (const troupe::job_info& i : page.jobs) all += std::string(i.request->params.view()) + ' ';
    from = page.next;
    ++pages;
    if (from) {
      while (w.take(*t).id != *from) {
      }
    }
  } while (from);
  CHECK(pages == 3);
  CHECK(all == "0 1 2 3 4 5 6 7 8 9 11 12 13 14 15 16 17 18 19 20 22 23 24 ");
  CHECK(w.run(w.store.list(job_state::active, {}, 1000)).jobs.size() == 22);
}

TEST_CASE("job_store: one without a cable gets nothing, and what it had goes to others",
          "[net][job]") {
  world w;
  const auto one = w.taker("one");
  job_request r = request();
  r.lease = 1s;
  const job_id id = w.add(r);
  const job_delivery d = w.take(*one);
  w.net.cut("one");
  CHECK(w.run(troupe::as_result(one->renew(id, d.fence))).code() == errc::connection_lost);
  CHECK(w.run(troupe::as_result(one->commit(id, d.fence, {}))).code() == errc::connection_lost);
  CHECK(w.nothing_to_take(*one));
  w.pass(1s);
  CHECK(w.nothing_to_take(*one));
  const auto two = w.taker("two");
  CHECK(w.take(*two).id == id);
  w.net.mend("one");
  w.run(one->notice());
  CHECK(w.run(one->renew(id, d.fence)) == job_hold::lost);
  CHECK_FALSE(w.commit(*one, d));
}

TEST_CASE("job_store: a crash is a failure and a loss; a loss is no failure", "[net][job]") {
  world w;
  const auto t = w.taker();
  job_request r = request();
  r.losses = 5;
  const job_id once = w.add(r);  // one attempt, whatever ends it
  CHECK(w.commit(*t, w.take(*t), of_kind(job_commit::crashed)));
  CHECK(w.info(once).state == job_state::dead);
  CHECK(w.info(once).failures == 1);
  CHECK(w.info(once).losses == 1);

  r.attempts = 10;
  r.losses = 3;
  const job_id often = w.add(r);
  for (int i = 0; i != 3; ++i) CHECK(w.commit(*t, w.take(*t), of_kind(job_commit::crashed)));
  CHECK(w.info(often).state == job_state::dead);

  r.attempts = 1;
  r.lease = 1s;
  const job_id lost = w.add(r);
  static_cast<void>(w.take(*t));
  w.pass(1s);
  CHECK(w.info(lost).state == job_state::waiting);
  CHECK(w.info(lost).failures == 0);
  CHECK(w.info(lost).error->reason.empty());
  const job_delivery d = w.take(*t);
  CHECK(d.losses == 1);
  CHECK(d.failures == 0);
  CHECK(w.commit(*t, d));
}

TEST_CASE("job_store: one that is completed has no error; one queued again is as new",
          "[net][job]") {
  world w;
  const auto t = w.taker();
  job_request r = request();
  r.attempts = 2;
  const job_id id = w.add(r);
  CHECK(w.commit(*t, w.take(*t), of_kind(job_commit::failed)));
  CHECK(w.info(id).error->text == "no");
  CHECK(w.commit(*t, w.take(*t), of_kind(job_commit::released)));
  CHECK(w.info(id).error->text == "no");  // of the last attempt there was
  CHECK(w.commit(*t, w.take(*t), result("r")));
  CHECK(w.info(id).error == nullptr);
  CHECK(w.run(w.store.settled(id)).error == nullptr);

  r.attempts = 1;
  const job_id again = w.add(r);
  job_delivery d = w.take(*t);
  CHECK(t->write(again, d.fence, true, troupe::shared_bytes("half")));
  CHECK(t->write(again, d.fence, false, troupe::shared_bytes(std::string(1 << 20, 'x'))));
  CHECK_FALSE(t->write(again, d.fence, false, troupe::shared_bytes("y")));
  CHECK(w.commit(*t, d, of_kind(job_commit::failed)));
  const std::uint64_t seen_so_far = w.run(w.store.news(again, 0)).number;
  CHECK(w.run(w.store.requeue(again)));
  CHECK(w.info(again).error == nullptr);
  CHECK(w.info(again).attempt == 0);
  d = w.take(*t);
  CHECK(d.attempt == 1);
  CHECK(t->write(again, d.fence, false, troupe::shared_bytes("y")));
  CHECK(w.commit(*t, d));
  for (const std::uint64_t from : {std::uint64_t{0}, seen_so_far}) {
    const troupe::job_news news = w.run(w.store.news(again, from));
    CHECK_FALSE(news.progress.has_value());
    REQUIRE(news.output.size() == 1);
    CHECK(news.output[0].body.view() == "y");
  }
}

TEST_CASE("job_store: what cannot be is refused, whoever wants it", "[net][job]") {
  world w;
  using change = void (*)(job_request&);
  const change wrong[] = {
      [](job_request& r) { r.script.clear(); },
      [](job_request& r) { r.attempts = 0; },
      [](job_request& r) { r.losses = 0; },
      [](job_request& r) { r.lease = troupe::duration::zero(); },
      [](job_request& r) { r.time_limit = -1s; },
      [](job_request& r) { r.retry.factor = 0.5; },
      [](job_request& r) { r.retry.factor = std::numeric_limits<double>::quiet_NaN(); },
      [](job_request& r) { r.retry.factor = std::numeric_limits<double>::infinity(); },
      [](job_request& r) { r.retry.max = r.retry.first - 1ms; },
      [](job_request& r) { r.together = 1; },
  };
  for (const change make_wrong : wrong) {
    job_request r = request();
    make_wrong(r);
    CHECK_THROWS_AS(w.add(r), std::invalid_argument);
    CHECK_THROWS_AS(w.run(w.store.run(r)), std::invalid_argument);
  }
  const job_id id = w.add(request());
  const auto t = w.taker();
  const job_delivery d = w.take(*t);
  job_commit silent;
  silent.kind = job_commit::failed;
  CHECK_THROWS_AS(w.commit(*t, d, silent), std::invalid_argument);
  CHECK(w.info(id).state == job_state::active);
  CHECK(w.commit(*t, d));
}

TEST_CASE("job_store: the dead leave room for others, and there are no more jobs than may be",
          "[net][job]") {
  world w({.jobs = 300});
  const auto t = w.taker();
  for (int i = 0; i != 1000; ++i) {
    w.add(request());
    CHECK(w.commit(*t, w.take(*t), of_kind(job_commit::refused)));
  }
  CHECK(w.run(w.store.counts())[job_state::dead] == 150);
  for (int i = 0; i != 150; ++i) w.add(request());
  CHECK(w.run(troupe::as_result(w.store.add(request()))).code() == errc::mailbox_full);
  troupe::memory_network too_large(w.sim, {.jobs = std::size_t{1} << 24});
  CHECK_THROWS_AS(too_large.jobs(), std::invalid_argument);
}

TEST_CASE("job_store: what is due is done in portions", "[net][job]") {
  world w;
  job_request r = request();
  r.delay = 1s;
  for (int i = 0; i != 1000; ++i) w.add(r);
  w.sim.advance(2s);
  CHECK(w.run(w.store.sweep()) <= w.sim.now());
  const std::size_t after_one = w.run(w.store.counts())[job_state::waiting];
  CHECK(after_one > 0);
  CHECK(after_one < 1000);
  while (w.run(w.store.sweep()) <= w.sim.now()) {
  }
  CHECK(w.run(w.store.counts())[job_state::waiting] == 1000);
}

TEST_CASE("job_store: a key has jobs of so many scripts, of others when those are done",
          "[net][job]") {
  world w;
  job_request r = request();
  r.key = "k";
  std::vector<troupe::job_script> scripts;
  for (std::uint32_t version = 1; version <= 256; ++version) {
    r.version = version;
    scripts.push_back({"a", version});
    w.add(r);
  }
  r.version = 257;
  CHECK(w.run(troupe::as_result(w.store.add(r))).code() == errc::mailbox_full);
  r.version = 7;
  w.add(r);
  r.key = "other";
  r.version = 257;
  w.add(r);
  const auto t = w.taker("one", scripts);
  CHECK(w.commit(*t, w.take(*t)));
  r.key = "k";
  w.add(r);  // where that of version 1 was
  for (int i = 0; i != 256; ++i) CHECK(w.commit(*t, w.take(*t)));
  CHECK(w.nothing_to_take(*t));
  const auto newer = w.taker("newer", {{"a", 257}});
  for (int i = 0; i != 2; ++i) CHECK(w.commit(*newer, w.take(*newer)));
  CHECK(w.nothing_to_take(*newer));
}

TEST_CASE("job_store: a page goes on about where it left off", "[net][job]") {
  world w;
  const auto t = w.taker();
  std::vector<job_id> ids;
  for (int i = 0; i != 1000; ++i) ids.push_back(w.add(request(std::to_string(i))));
  const troupe::job_page first = w.run(w.store.list(job_state::waiting, {}, 700));
  CHECK(first.jobs.size() == 700);
  REQUIRE(first.next == ids[700]);
  CHECK(w.run(w.store.cancel(ids[700])));
  const troupe::job_page second = w.run(w.store.list(job_state::waiting, first.next, 700));
  REQUIRE(second.jobs.size() == 299);
  CHECK(second.jobs.front().id == ids[701]);
  CHECK_FALSE(second.next.has_value());
}

namespace {

troupe::task<std::uint64_t> add_temporaries(troupe::job_store& s, troupe::job_taker& t) {
  const job_id id = co_await s.add(request(std::string(100, 'p')));
  const std::optional<job_delivery> d = co_await t.take();
  const bool is_done = co_await t.commit(d->id, d->fence, result(std::string(100, 'r')));
  co_return is_done ? id.number : 0;
}

}  // namespace

TEST_CASE("job_store: requests and commits may be temporaries of awaited expressions",
          "[net][job]") {
  static_assert(!std::is_aggregate_v<job_request> && !std::is_aggregate_v<job_commit>);
  world w;
  const auto t = w.taker();
  CHECK(w.run(add_temporaries(w.store, *t)) != 0);
}

namespace {

troupe::task<> take_all(troupe::job_taker& t, std::vector<std::uint64_t>& taken) {
  for (;;) {
    std::optional<job_delivery> d = co_await t.take();
    if (!d) co_return;
    taken.push_back(d->id.number);
    static_cast<void>(co_await t.commit(d->id, d->fence, {}));
  }
}
troupe::task<> run_many(troupe::job_store& s, int many, int& ended) {
  for (int i = 0; i != many; ++i) {
    job_request r = request();
    r.keep = troupe::duration::zero();
    auto running = s.run(std::move(r));
    const troupe::job_outcome end = co_await std::move(running);
    if (end.state == job_state::completed) ++ended;
  }
}
troupe::task<> all_together(troupe::job_store& s, troupe::job_taker& t,
                            std::vector<std::uint64_t>& taken, int& ended) {
  troupe::task_scope takers;
  for (int i = 0; i != 3; ++i) takers.spawn(take_all(t, taken));
  troupe::task_scope callers;
  for (int i = 0; i != 4; ++i) callers.spawn(run_many(s, 50, ended));
  co_await callers.join();
  t.close();
  co_await takers.join();
}

}  // namespace

TEST_CASE("job_store: who waits for a job to run and who waits for work meet", "[net][job]") {
  for (std::uint64_t seed = 1; seed != 30; ++seed) {
    world w({}, seed);
    const auto t = w.taker();
    std::vector<std::uint64_t> taken;
    int ended = 0;
    w.run(all_together(w.store, *t, taken, ended));
    CHECK(ended == 200);
    CHECK(taken.size() == 200);
    CHECK(w.run(w.store.counts())[job_state::completed] == 0);
  }
}

TEST_CASE("job_store: on threads", "[net][job]") {
  troupe::thread_pool pool({.threads = 3});
  troupe::memory_network net(pool);
  troupe::job_store& s = net.jobs();
  const auto t = s.open_taker("one", {{"a", 1}});
  std::vector<std::vector<std::uint64_t>> taken(3);
  std::vector<int> ended(4);
  const auto all = [&]() -> troupe::task<> {
    troupe::task_scope takers;
    for (auto& list : taken) takers.spawn(take_all(*t, list));
    troupe::task_scope callers;
    for (int& count : ended) callers.spawn(run_many(s, 2000, count));
    co_await callers.join();
    t->close();
    co_await takers.join();
  };
  troupe::broker broker({.on = &pool});
  broker.run(all());
  CHECK(ended == std::vector<int>{2000, 2000, 2000, 2000});
  CHECK(taken[0].size() + taken[1].size() + taken[2].size() == 8000);
}

namespace {

/// Who asks for jobs and who runs them, on threads, and what both can see.
struct crowd {
  troupe::job_store& store;
  troupe::job_taker& taker;
  std::atomic<int> limited{0};  // of the key with a limit: jobs that run
  std::atomic<int> most_limited{0};
  std::atomic<int> completed{0};
  std::atomic<int> cancelled{0};
  std::atomic<bool> is_over{false};
};
constexpr std::uint32_t crowd_limit = 2;

/// Commits, fails, gives back, or says nothing any more, by chance.
troupe::task<> take_carelessly(crowd& c, std::uint64_t seed) {
  for (;;) {
    std::optional<job_delivery> d = co_await c.taker.take();
    if (!d) co_return;
    const std::uint64_t chance = troupe::splitmix64(seed) % 100;
    const bool is_limited = d->request->key == "limited";
    if (is_limited) {
      const int now = ++c.limited;
      int most = c.most_limited.load();
      while (most < now && !c.most_limited.compare_exchange_weak(most, now)) {
      }
    }
    if (chance % 4 == 0) co_await troupe::yield();
    static_cast<void>(co_await c.taker.renew(d->id, d->fence));
    c.taker.write(d->id, d->fence, chance % 2 == 0, troupe::shared_bytes("x"));
    if (is_limited) --c.limited;
    if (chance >= 90 && !is_limited) continue;
    job_commit end = result("r");
    if (chance >= 70) end = of_kind(chance < 80 ? job_commit::failed : job_commit::released);
    auto committing = c.taker.commit(d->id, d->fence, std::move(end));
    static_cast<void>(co_await std::move(committing));
  }
}

job_request careless_request(std::uint64_t& seed) {
  job_request r = request();
  r.attempts = r.losses = 1'000'000;
  r.priority = static_cast<std::int32_t>(troupe::splitmix64(seed) % 3);
  r.ahead = troupe::splitmix64(seed) % 5 == 0;
  r.lease = 30ms;
  switch (troupe::splitmix64(seed) % 3) {
    case 0:
      r.key = "limited";
      r.together = crowd_limit;
      r.lease = 1h;
      break;
    case 1:
      r.key = std::to_string(troupe::splitmix64(seed) % 3);
      break;
    default:
      break;
  }
  return r;
}

troupe::task<> ask_carelessly(crowd& c, std::uint64_t seed, int many) {
  for (int i = 0; i != many; ++i) {
    job_request r = careless_request(seed);
    troupe::job_outcome end;
    if (troupe::splitmix64(seed) % 2 == 0) {
      r.keep = troupe::duration::zero();
      auto running = c.store.run(std::move(r));
      end = co_await std::move(running);
    } else {
      const job_id id = co_await c.store.add(std::move(r));
      if (troupe::splitmix64(seed) % 3 == 0) static_cast<void>(co_await c.store.cancel(id));
      const troupe::job_news news = co_await c.store.news(id, 0);
      static_cast<void>(news);
      end = co_await c.store.settled(id);
    }
    if (end.state == job_state::completed) ++c.completed;
    if (end.state == job_state::cancelled) ++c.cancelled;
  }
}

troupe::task<> sweep_until_over(crowd& c) {
  while (!c.is_over.load()) {
    static_cast<void>(co_await c.store.sweep());
    const troupe::job_page page = co_await c.store.list(job_state::active, {}, 100);
    static_cast<void>(page);
    co_await troupe::sleep_for(1ms);
  }
}

troupe::task<> notice_until_over(crowd& c) {
  for (;;) co_await c.taker.notice();
}

troupe::task<> be_careless(crowd& c, int askers, int many) {
  troupe::task_scope takers;
  for (std::uint64_t seed = 1; seed != 7; ++seed) takers.spawn(take_carelessly(c, seed));
  troupe::task_scope beside;
  beside.spawn(sweep_until_over(c));
  beside.spawn(notice_until_over(c));
  troupe::task_scope asking;
  for (int i = 0; i != askers; ++i) {
    asking.spawn(ask_carelessly(c, static_cast<std::uint64_t>(i) + 100, many));
  }
  co_await asking.join();
  c.taker.close();
  co_await takers.join();
  c.is_over.store(true);
  beside.request_stop();
  auto ending = troupe::as_result(beside.join());
  static_cast<void>(co_await std::move(ending));
}

}  // namespace

TEST_CASE("job_store: on threads, with keys, limits, leases that end, and cancelling",
          "[net][job]") {
  constexpr int askers = 8;
  constexpr int many = 150;
  troupe::thread_pool pool({.threads = 3});
  troupe::memory_network net(pool);
  const auto t = net.jobs().open_taker("one", {{"a", 1}});
  crowd c{net.jobs(), *t};
  troupe::broker broker({.on = &pool});
  broker.run(be_careless(c, askers, many));
  CHECK(c.completed + c.cancelled == askers * many);
  CHECK(c.completed > 0);
  CHECK(c.cancelled > 0);
  CHECK(c.most_limited <= static_cast<int>(crowd_limit));
}

}  // namespace job_store_tests
