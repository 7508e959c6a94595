// SPDX-License-Identifier: MIT

// What does a job cost that does nothing, over a Redis of its own on this machine? The same is
// asked of BullMQ on the same server, where node and its package are there
// (bench/bullmq/README.md).

#include "support/measure.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <troupe.hpp>
#include <troupe/adapter/redis/redis.hpp>
#include <troupe/job.hpp>

#include "redis/redis_server.hpp"

namespace {

constexpr std::size_t count = 20'000;
constexpr unsigned callers = 50;

struct nothing {
  using params = int;
  using result = int;
  int operator()(int n) { return n; }
};

double seconds_since(std::chrono::steady_clock::time_point begun) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
}

troupe::task<> plays(troupe::client& jobs, std::size_t n) {
  for (std::size_t i = 0; i != n; ++i) {
    const int one = co_await jobs.play<nothing>(1);
    if (one != 1) std::abort();
  }
}
troupe::task<> queues(troupe::client& jobs, std::size_t n, troupe::job_id& last) {
  for (std::size_t i = 0; i != n; ++i) {
    const troupe::job_id id = co_await jobs.queue<nothing>(1);
    last = (std::max)(last, id);
  }
}
troupe::task<> play_all(troupe::client& jobs) {
  troupe::task_scope scope;
  for (unsigned i = 0; i != callers; ++i) scope.spawn(plays(jobs, count / callers));
  co_await scope.join();
}
troupe::task<> queue_all(troupe::client& jobs) {
  std::vector<troupe::job_id> last(callers);
  troupe::task_scope scope;
  for (unsigned i = 0; i != callers; ++i) scope.spawn(queues(jobs, count / callers, last[i]));
  co_await scope.join();
}
troupe::task<> until_none_is_left(troupe::client& jobs) {
  for (;;) {
    const troupe::job_counts n = co_await jobs.counts();
    if (n[troupe::job_state::waiting] + n[troupe::job_state::active] == 0) co_return;
    co_await troupe::sleep_for(std::chrono::milliseconds(2));
  }
}

troupe::task<> timed(troupe::client& jobs, std::vector<double>& took) {
  for (double& t : took) {
    const auto begun = std::chrono::steady_clock::now();
    static_cast<void>(co_await jobs.play<nothing>(1));
    t = seconds_since(begun) * 1e3;
  }
}

void measure(const std::string& url) {
  troupe::thread_pool pool({.threads = 1});  // the other core is for the server
  troupe::redis_network net(pool, troupe::redis_options::parse(url));
  troupe::broker broker({.on = &pool});
  troupe::workspace scripts;
  scripts.add<nothing>();
  troupe::client jobs{net, scripts};
  broker.run(net.ready());

  auto begun = std::chrono::steady_clock::now();
  broker.run(queue_all(jobs));
  std::printf("%-40s %10.0f jobs/s\n", "troupe: added", count / seconds_since(begun));

  troupe::composer c{net};
  begun = std::chrono::steady_clock::now();
  troupe::instrument i{net, scripts, {.workers = callers}};
  broker.run(until_none_is_left(jobs));
  std::printf("%-40s %10.0f jobs/s\n", "troupe: run, of a backlog", count / seconds_since(begun));

  begun = std::chrono::steady_clock::now();
  broker.run(play_all(jobs));
  std::printf("%-40s %10.0f jobs/s\n", "troupe: end to end", count / seconds_since(begun));

  std::vector<double> took(2000);
  broker.run(timed(jobs, took));
  std::sort(took.begin(), took.end());
  std::printf("%-40s %10.3f ms, 99 of 100 %.3f ms\n", "troupe: one after the other, the median",
              took[took.size() / 2], took[took.size() * 99 / 100]);
}

}  // namespace

int main() {
  redis_tests::redis_server server;
  measure(server.url());
  const std::string folder = TROUPE_BENCH_BULLMQ;
  if (!std::filesystem::exists(folder + "/node_modules")) {
    std::printf("BullMQ is not here: see %s/README.md\n", folder.c_str());
    return 0;
  }
  std::fflush(stdout);
  const std::string command = "node " + folder + "/bench.mjs " + std::to_string(server.port()) +
                              ' ' + std::to_string(count) + ' ' + std::to_string(callers);
  return std::system(command.c_str()) == 0 ? 0 : 1;
}
