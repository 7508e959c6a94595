// SPDX-License-Identifier: MIT

// What does a command to Redis cost, from many coroutines over one link, against what hiredis takes
// on one thread that does nothing else and knows beforehand how many answers there will be?

#include "support/measure.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include <troupe.hpp>
#include <troupe/adapter/redis/redis_link.hpp>

#include "redis/redis_server.hpp"

namespace {

using troupe::detail::redis_command;
using troupe::detail::redis_link;
using troupe::detail::redis_reply;

troupe::task<> one_caller(redis_link& link, std::size_t n) {
  for (std::size_t i = 0; i != n; ++i) {
    redis_command c("SET", "key", "value");
    const redis_reply r = co_await link.ask(std::move(c));
    if (r.text() != "OK") std::abort();
  }
}

troupe::task<> callers(redis_link& link, std::size_t many, std::size_t n) {
  troupe::task_scope scope;
  for (std::size_t i = 0; i != many; ++i) scope.spawn(one_caller(link, n / many + 1));
  co_await scope.join();
}

/// `depth` commands are written at once, and `depth` answers read, as redis-benchmark -P does.
void pipelined(::redisContext& c, std::size_t depth, std::size_t n) {
  for (std::size_t done = 0; done < n; done += depth) {
    for (std::size_t i = 0; i != depth; ++i) ::redisAppendCommand(&c, "SET %s %s", "key", "value");
    for (std::size_t i = 0; i != depth; ++i) {
      void* r = nullptr;
      if (::redisGetReply(&c, &r) != REDIS_OK) std::abort();
      ::freeReplyObject(r);
    }
  }
}

}  // namespace

int main() {
  redis_tests::redis_server server;
  ::redisContext* const c = ::redisConnect("127.0.0.1", server.port());
  if (c == nullptr || c->err != 0) std::abort();
  troupe::broker broker;
  redis_link link(broker.runs_on(), troupe::redis_options::parse(server.url()));

  const double synchronous =
      bench::ns_per_op(5'000, [&](std::size_t n) { pipelined(*c, 1, n); }, 3);
  const double alone =
      bench::ns_per_op(5'000, [&](std::size_t n) { broker.run(one_caller(link, n)); }, 3);
  bench::row("hiredis, one command after the other", synchronous, synchronous, "itself");
  bench::row("the link, one command after the other", alone, synchronous, "hiredis");
  for (const std::size_t many : {std::size_t{50}, std::size_t{500}}) {
    const double base =
        bench::ns_per_op(100'000, [&](std::size_t n) { pipelined(*c, many, n); }, 3);
    const double own =
        bench::ns_per_op(100'000, [&](std::size_t n) { broker.run(callers(link, many, n)); }, 3);
    const std::string with = std::to_string(many);
    bench::row(("hiredis, pipelines of " + with).c_str(), base, base, "itself");
    bench::row(("the link, " + with + " coroutines").c_str(), own, base, "hiredis");
    std::printf("%-58s %10.0f commands/s\n", "", 1e9 / own);
  }
  ::redisFree(c);
}
