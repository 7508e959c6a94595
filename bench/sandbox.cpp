// SPDX-License-Identifier: MIT

// What does a call of a module in a sandboxed process cost? Against a bare round trip by futex
// between two processes, and a memcpy, in one run.

#include "support/measure.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <coroutine>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <linux/futex.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <troupe.hpp>
#include <troupe/function/process_launcher.hpp>
#include <troupe/function/sandbox_main.hpp>

namespace {

using namespace std::chrono_literals;
using nanoseconds = std::chrono::nanoseconds;

std::int64_t now() { return troupe::steady_now().time_since_epoch().count(); }

struct figures {
  double least, p50, average, p95;
};

figures summary(std::vector<std::int64_t> taken) {
  std::sort(taken.begin(), taken.end());
  double sum = 0;
  for (const std::int64_t one : taken) sum += static_cast<double>(one);
  const auto at = [&](double part) {
    return static_cast<double>(
               taken[static_cast<std::size_t>(part * static_cast<double>(taken.size() - 1))]) /
           1000;
  };
  return {at(0), at(0.5), sum / static_cast<double>(taken.size()) / 1000, at(0.95)};
}

void print(const char* what, const figures& f) {
  std::printf("%-46s %8.1f %8.1f %8.1f %8.1f us\n", what, f.least, f.p50, f.average, f.p95);
}

void print_ratio(const char* what, double ratio, double limit) {
  std::printf("%-46s %8.2f  (to reach: %.2f)%s\n", what, ratio, limit, ratio <= limit ? "" : "  !");
}

// -- Two bare processes --------------------------------------------------------------------------

struct ball {
  std::atomic<std::uint32_t> ping{0};
  std::atomic<std::uint32_t> pong{0};
};

void wait_for(std::atomic<std::uint32_t>& word, std::uint32_t value) {
  for (;;) {
    const std::uint32_t seen = word.load();
    if (seen == value) return;
    ::syscall(SYS_futex, static_cast<void*>(&word), FUTEX_WAIT, seen, nullptr, nullptr, 0);
  }
}
void set(std::atomic<std::uint32_t>& word, std::uint32_t value) {
  word.store(value);
  ::syscall(SYS_futex, static_cast<void*>(&word), FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

/// Before any thread is started: this forks.
class bare_process {
public:
  bare_process()
      : ball_(*new(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))
                  ball) {
    process_ = ::fork();
    if (process_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (std::uint32_t turn = 1;; ++turn) {
      wait_for(ball_.ping, turn);
      set(ball_.pong, turn);
    }
  }
  ~bare_process() {
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }
  std::int64_t round_trip() {
    const std::int64_t start = now();
    set(ball_.ping, ++turn_);
    wait_for(ball_.pong, turn_);
    return now() - start;
  }

private:
  ball& ball_;
  ::pid_t process_;
  std::uint32_t turn_ = 0;
};

/// What a megabyte costs that one process writes and another one looks at, both of them awake: how
/// near their cores are to each other decides it. Before any thread is started: this forks.
class bare_crossing {
public:
  static constexpr std::size_t size = 1'000'000;

  bare_crossing()
      : ball_(*new(shared(sizeof(ball))) ball), bytes_(static_cast<unsigned char*>(shared(size))) {
    process_ = ::fork();
    if (process_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (std::uint32_t turn = 1;; ++turn) {
      look_for(ball_.ping, turn);
      std::uint32_t sum = 0;
      for (std::size_t i = 0; i < size; i += 4096) sum += bytes_[i];
      sum_ = sum;
      set(ball_.pong, turn);
    }
  }
  ~bare_crossing() {
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }
  std::int64_t round_trip(const std::string& from) {
    const std::int64_t start = now();
    std::memcpy(bytes_, from.data(), size);
    set(ball_.ping, ++turn_);
    look_for(ball_.pong, turn_);
    return now() - start;
  }

private:
  static void* shared(std::size_t length) {
    return ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  }
  /// Without sleeping, for a millisecond.
  static void look_for(std::atomic<std::uint32_t>& word, std::uint32_t value) {
    const std::int64_t until = now() + 1'000'000;
    while (word.load() != value && now() < until) {
    }
    if (word.load() == value) return;
    wait_for(word, value);
  }

  ball& ball_;
  unsigned char* const bytes_;
  ::pid_t process_;
  std::uint32_t turn_ = 0;
  volatile std::uint32_t sum_ = 0;
};

// -- A module in a process -----------------------------------------------------------------------

struct owner final : troupe::detail::instance_owner {
  void call(troupe::detail::module_instance&,
            const troupe::detail::outgoing_call& c) noexcept override {
    c.settled(c.context, troupe_outcome_error, 0, {nullptr, 0});
  }
  void failed(troupe::detail::module_instance&, troupe::errc,
              std::string_view why) noexcept override {
    std::fprintf(stderr, "%.*s\n", static_cast<int>(why.size()), why.data());
    std::abort();
  }
  void ended(troupe::detail::module_instance&) noexcept override { over.store(true); }
  std::atomic<bool> over{false};
};

/// A call that a coroutine awaits.
class trigger final : public troupe::detail::module_call {
public:
  trigger(troupe::detail::module_instance& to, std::uint32_t index, std::string_view bytes)
      : instance_(to) {
    static std::uint64_t last = 0;
    id = ++last;
    function = index;
    deadline = INT64_MAX;
    payload = {reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()};
    settle = [](troupe_module_call* self, std::uint32_t outcome, std::uint32_t,
                troupe_bytes reply) {
      if (outcome != troupe_outcome_value) std::abort();
      auto& t = static_cast<trigger&>(*self);
      t.size_ = reply.size;
      if (t.state_.exchange(2) == 1) t.waiting_.resume();
    };
  }
  void give_back() noexcept override { std::abort(); }

  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> h) {
    waiting_ = h;
    instance_.call(*this);
    return state_.exchange(1) != 2;
  }
  std::uint64_t await_resume() const noexcept { return size_; }

private:
  troupe::detail::module_instance& instance_;
  std::coroutine_handle<> waiting_;
  std::atomic<int> state_{0};
  std::uint64_t size_ = 0;
};

troupe::task<std::int64_t> one_call(troupe::detail::module_instance& m, std::uint32_t function,
                                    std::string_view bytes) {
  const std::int64_t start = now();
  trigger t(m, function, bytes);
  co_await t;
  co_return now() - start;
}

troupe::task<> many_calls(troupe::detail::module_instance& m, std::uint32_t function, int count) {
  std::vector<troupe::task<std::int64_t>> all;
  for (int i = 0; i != count; ++i) all.push_back(one_call(m, function, "12345678"));
  co_await troupe::when_all(std::move(all));
}

std::size_t kilobytes(int process, const char* what) {
  const std::string path = "/proc/" + std::to_string(process) + "/smaps_rollup";
  std::FILE* const file = std::fopen(path.c_str(), "r");
  if (file == nullptr) return 0;
  char line[256];
  std::size_t found = 0;
  while (std::fgets(line, sizeof line, file) != nullptr) {
    if (std::strncmp(line, what, std::strlen(what)) != 0) continue;
    found += static_cast<std::size_t>(std::atol(line + std::strlen(what) + 1));
  }
  std::fclose(file);
  return found;
}

}  // namespace

int main(int argc, char** argv) {
  troupe::sandbox_main(argc, argv);
  const char* const module = argc > 1 ? argv[1] : TROUPE_BENCH_MODULE;

  bare_process bare;
  bare_crossing crossing;
  const auto sample = [](int count, auto measure, nanoseconds pause) {
    std::vector<std::int64_t> taken;
    for (int i = 0; i != count; ++i) {
      if (pause != nanoseconds(0)) std::this_thread::sleep_for(pause);
      taken.push_back(measure());
    }
    return summary(std::move(taken));
  };

  troupe::thread_pool pool({.threads = 1});
  troupe::sandbox_options options;
  if (argc > 2) options.helper = argv[2];
  troupe::detail::process_launcher launcher(options);
  std::printf("sandbox: %s\n\n", troupe::to_string(launcher.level()).c_str());
  const auto image = troupe::module_image::from_file(module);
  const troupe::module_permissions permissions;
  owner own;
  const auto start = [&](owner& o) {
    return troupe::sync_wait(launcher.start({"subject", "", image, permissions, pool, o}));
  };
  auto m = start(own);
  const std::uint32_t echo = *m->manifest().find("echo");
  const std::uint32_t size_of = *m->manifest().find("size_of");
  const auto call = [&](std::uint32_t function, std::string_view bytes) {
    return troupe::sync_wait(one_call(*m, function, bytes));
  };

  std::printf("%-46s %8s %8s %8s %8s\n", "", "least", "p50", "average", "p95");
  const auto tiny = [&] { return call(echo, "12345678"); };
  const auto bare_trip = [&] { return bare.round_trip(); };
  // By turns: what the machine does meanwhile is the same for both.
  std::vector<std::int64_t> bare_paused;
  std::vector<std::int64_t> own_paused;
  for (int i = 0; i != 1000; ++i) {
    std::this_thread::sleep_for(1ms);
    bare_paused.push_back(bare_trip());
    std::this_thread::sleep_for(1ms);
    own_paused.push_back(tiny());
  }
  const figures bare_after = summary(bare_paused);
  const figures own_after = summary(own_paused);
  print("bare futex round trip after a pause of 1 ms", bare_after);
  print("call after a pause of 1 ms", own_after);
  print("bare futex round trip, one after the other", sample(20'000, bare_trip, 0ns));
  const figures hot = sample(50'000, tiny, 0ns);
  print("call, one after the other", hot);
  const figures batch = sample(
      2000,
      [&] {
        const std::int64_t begun = now();
        troupe::sync_wait(many_calls(*m, echo, 32));
        return (now() - begun) / 32;
      },
      0ns);
  print("each of 32 calls in flight", batch);

  const std::string megabyte(1'000'000, 'm');
  std::string target(megabyte.size(), 0);
  const figures copy = sample(
      500,
      [&] {
        const std::int64_t begun = now();
        std::memcpy(target.data(), megabyte.data(), megabyte.size());
        asm volatile("" : : "r"(target.data()) : "memory");
        return now() - begun;
      },
      0ns);
  print("memcpy of 1 MB", copy);
  const figures moved = sample(500, [&] { return crossing.round_trip(megabyte); }, 0ns);
  print("1 MB between two bare processes, both awake", moved);
  const figures large = sample(500, [&] { return call(size_of, megabyte); }, 0ns);
  print("call with 1 MB", large);
  print("call with 1 MB, and 1 MB back", sample(500, [&] { return call(echo, megabyte); }, 0ns));

  std::vector<std::int64_t> cold;
  std::vector<std::int64_t> gone;
  for (int i = 0; i != 100; ++i) {
    owner other;
    const std::int64_t begun = now();
    auto one = start(other);
    troupe::sync_wait(one_call(*one, echo, "12345678"));
    cold.push_back(now() - begun);
    const std::int64_t closing = now();
    one->close();
    while (!other.over.load()) std::this_thread::yield();
    gone.push_back(now() - closing);
  }
  const figures starts = summary(cold);
  print("cold start, first call included", starts);
  print("orderly end", summary(gone));

  owner idle_owner;
  auto idle = start(idle_owner);
  std::this_thread::sleep_for(100ms);
  const int process = static_cast<troupe::detail::process_instance&>(*idle).process_id();
  const std::size_t private_memory =
      kilobytes(process, "Private_Dirty") + kilobytes(process, "Private_Clean");
  std::printf("%-46s %8zu KiB private, %zu KiB proportional\n", "idle child", private_memory,
              kilobytes(process, "Pss"));

  std::printf("\n");
  print_ratio("call after a pause / bare round trip", own_after.p50 / bare_after.p50, 1.3);
  print_ratio("call, one after the other, in us", hot.p50, 15);
  print_ratio("each of 32 calls in flight, in us", batch.p50, 3);
  print_ratio("cold start, in ms", starts.p50 / 1000, 5);
  print_ratio("1 MB / (2 memcpy + one call)", large.p50 / (2 * copy.p50 + hot.p50), 1);
  std::printf("%-46s %8.2f\n", "1 MB / 1 MB between two bare processes", large.p50 / moved.p50);
  print_ratio("idle child, private memory in MiB", static_cast<double>(private_memory) / 1024, 2);

  m->close();
  idle->close();
  while (!own.over.load() || !idle_owner.over.load()) std::this_thread::yield();
  return 0;
}
