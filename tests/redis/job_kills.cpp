// SPDX-License-Identifier: MIT
// Jobs over Redis while machines, and the server, are killed: nothing that was accepted is lost,
// and each job has one result. TROUPE_TEST_KILLS and TROUPE_TEST_SEED choose how often, and which
// ones.

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <troupe.hpp>
#include <troupe/adapter/redis/redis_network.hpp>
#include <troupe/job.hpp>

#include <catch2/catch.hpp>

#include "job_mark.hpp"
#include "redis_server.hpp"

/// Run by machines only.
troupe::task<redis_tests::mark::result> redis_tests::mark::operator()(params,
                                                                      troupe::job_context&) {
  throw std::logic_error("this process runs no jobs");
}

namespace job_kills_tests {
namespace {

using namespace std::chrono_literals;
using redis_tests::mark;

constexpr troupe::duration lease = 500ms;

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* const text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

/// A process that works.
class machine {
public:
  machine(const redis_tests::redis_server& redis, std::string journal)
      : port_(std::to_string(redis.port())), journal_(std::move(journal)) {
    start();
  }
  machine(const machine&) = delete;
  machine& operator=(const machine&) = delete;
  ~machine() { end(SIGKILL); }

  void replace() {
    end(SIGKILL);
    start();
  }
  void pause() { ::kill(pid_, SIGSTOP); }
  void go_on() { ::kill(pid_, SIGCONT); }
  /// Its exit code; -1: a signal has ended it.
  int end(int signal) {
    if (pid_ <= 0) return -1;
    ::kill(pid_, signal);
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

private:
  void start() {
    pid_ = ::fork();
    if (pid_ < 0) throw std::runtime_error("no process");
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // whatever becomes of the test
    ::execl(TROUPE_TEST_JOB_MACHINE, TROUPE_TEST_JOB_MACHINE, port_.c_str(), journal_.c_str(),
            nullptr);
    ::_exit(127);
  }

  const std::string port_;
  const std::string journal_;
  pid_t pid_ = -1;
};

/// What the callers have seen.
struct report {
  std::mutex mutex;  // guards what follows
  std::set<std::uint64_t> done;
  std::vector<std::string> complaints;

  void complain(std::string what) {
    const std::lock_guard guard(mutex);
    complaints.push_back(std::move(what));
  }
};

bool is_lost(const std::error_code& code) {
  return code == troupe::make_error_code(troupe::errc::connection_lost) ||
         code == troupe::make_error_code(troupe::errc::timed_out);
}

/// Again and again until the network can be reached; all that is asked may be asked twice.
troupe::task<troupe::job_id> queue(troupe::client& jobs, mark::params p) {
  const std::string key = "number " + std::to_string(p.number);
  troupe::job_options o;
  o.lease = lease;
  o.losses = 1000;
  o.idempotency_key = key;
  for (;;) {
    auto asking = troupe::as_result(jobs.queue<mark>(o, p));
    const troupe::result<troupe::job_id> id = co_await std::move(asking);
    if (id.has_value()) co_return *id;
    if (!is_lost(id.code())) co_return id.value();  // throws
    co_await troupe::sleep_for(20ms);
  }
}

troupe::task<std::uint64_t> result(troupe::client& jobs, troupe::job_id id) {
  for (;;) {
    auto asking = troupe::as_result(jobs.result<mark>(id));
    const troupe::result<std::uint64_t> value = co_await std::move(asking);
    if (value.has_value()) co_return *value;
    if (!is_lost(value.code())) co_return value.value();  // throws
    co_await troupe::sleep_for(20ms);
  }
}

/// One that wants a job at a time, until it is told to end.
class caller {
public:
  caller(troupe::client& jobs, std::atomic<std::uint64_t>& numbers, std::atomic<bool>& goes_on,
         report& to)
      : jobs_(jobs), numbers_(numbers), goes_on_(goes_on), to_(to) {}

  troupe::task<> run() {
    while (goes_on_) {
      mark::params p;
      p.number = ++numbers_;
      p.micros = p.number % 7 * 2000;
      auto working = troupe::as_result(one(p));
      const troupe::result<void> done = co_await std::move(working);
      if (!done.has_value()) complain(p.number, done);
    }
  }

private:
  troupe::task<> one(mark::params p) {
    const troupe::job_id id = co_await queue(jobs_, p);
    const std::uint64_t value = co_await result(jobs_, id);
    if (value != mark::result_of(p.number)) to_.complain("a wrong result");
    const std::lock_guard guard(to_.mutex);
    if (!to_.done.insert(p.number).second) to_.complaints.push_back("two ends");
  }

  void complain(std::uint64_t number, const troupe::result<void>& failed) {
    try {
      failed.value();
    } catch (const std::exception& e) {
      to_.complain(std::to_string(number) + ": " + e.what());
    }
  }

  troupe::client& jobs_;
  std::atomic<std::uint64_t>& numbers_;
  std::atomic<bool>& goes_on_;
  report& to_;
};

/// What the machines have written down.
struct journal {
  explicit journal(const std::string& path) {
    std::ifstream in(path);
    std::string what;
    std::uint64_t number = 0, fence = 0, attempt = 0, pid = 0;
    while (in >> what >> number >> fence >> attempt >> pid) {
      if (what == "begin" && !fences[number].insert(fence).second) is_doubled = true;
      if (what == "end") ended.insert(number);
    }
  }

  std::map<std::uint64_t, std::set<std::uint64_t>> fences;  // of each number
  std::set<std::uint64_t> ended;
  bool is_doubled = false;
};

/// Forty callers at once.
void call_all(const redis_tests::redis_server& redis, std::atomic<std::uint64_t>& numbers,
              std::atomic<bool>& goes_on, report& to) {
  troupe::broker broker{troupe::broker_options{.threads = 2}};
  troupe::redis_options options;
  options.port = redis.port();
  options.reconnect.max = 100ms;
  troupe::redis_network net(broker.runs_on(), options);
  troupe::workspace scripts;
  scripts.add<mark>();
  troupe::client jobs{net, scripts};
  std::vector<caller> callers(40, caller(jobs, numbers, goes_on, to));
  std::vector<troupe::task<>> calls;
  for (caller& c : callers) calls.push_back(c.run());
  broker.run(troupe::when_all(std::move(calls)));
}

}  // namespace

TEST_CASE("What was accepted is done, and ends once, whoever is killed") {
  const std::uint64_t kills = number_from("TROUPE_TEST_KILLS", 10);
  const std::uint64_t seed = number_from("TROUPE_TEST_SEED", 1);
  INFO("TROUPE_TEST_KILLS=" << kills << " TROUPE_TEST_SEED=" << seed);
  // With everysec, what was answered while the disk was busy dies with the server.
  redis_tests::redis_server redis({"--appendfsync", "always"});
  const std::string path = (redis.directory() / "journal").string();
  report seen;
  std::atomic<std::uint64_t> numbers{0};
  std::atomic<bool> goes_on{true};
  std::vector<std::unique_ptr<machine>> machines;
  for (int i = 0; i != 3; ++i) machines.push_back(std::make_unique<machine>(redis, path));

  std::thread calling([&] { call_all(redis, numbers, goes_on, seen); });
  // By the thread that lives longest: whoever starts a process takes it along when it ends.
  std::mt19937_64 random(seed);
  for (std::uint64_t i = 0; i != kills; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20 + random() % 200));
    machine& unlucky = *machines[random() % machines.size()];
    switch (random() % 8) {
      case 0:  // taken for dead, and back
        unlucky.pause();
        std::this_thread::sleep_for(lease + 300ms);
        unlucky.go_on();
        break;
      case 1:
        redis.restart();
        break;
      default:
        unlucky.replace();
        break;
    }
  }
  goes_on = false;
  calling.join();
  for (auto& m : machines) CHECK(m->end(SIGTERM) == 0);

  const journal written(path);
  for (const std::string& what : seen.complaints) FAIL_CHECK(what);
  CHECK(seen.done.size() == numbers);
  CHECK_FALSE(written.is_doubled);
  std::uint64_t lost = 0;
  for (const std::uint64_t number : seen.done) lost += written.ended.count(number) == 0 ? 1 : 0;
  CHECK(lost == 0);
  CHECK(seen.done.size() > kills);
}

}  // namespace job_kills_tests
