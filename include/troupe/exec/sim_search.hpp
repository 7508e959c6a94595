// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `sim_search`: runs a test under many seeds, stops at the first that fails, and says how to run
/// that one again. `sim_expect`: an expectation that such a test sees wherever it fails.
///
/// Layer: exec. For tests; throws `std::bad_alloc`.

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <troupe/base/error.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/simulation.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/exec/sim_executor.hpp>
#include <troupe/exec/sim_options.hpp>
#include <troupe/sync/atomic.hpp>

namespace troupe {

/// An expectation that did not hold.
class sim_failure : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

/// Throws `sim_failure` if `holds` is false. The simulation that runs on this thread remembers it,
/// so that `sim_search` sees it also where nobody waits for who threw it.
inline void sim_expect(bool holds, std::string_view what) {
  if (holds) return;
  const auto failure = std::make_exception_ptr(sim_failure(std::string(what)));
  if (detail::simulation* const s = detail::simulation_here()) s->note_failure(failure);
  std::rethrow_exception(failure);
}

/// What to search, and how. Two environment variables go before `first` and `count`, so that no
/// test need be changed: `TROUPE_SEED=17` runs that seed alone, `TROUPE_SEEDS=100000` that many,
/// `TROUPE_SEEDS=500+1000` as many from the first of the two on.
struct sim_search_options {
  std::uint64_t first = 1;     ///< The seeds are `first`, `first + 1`, ...
  std::uint64_t count = 1000;  ///< ... so many.
  sim_options run{};           ///< Of each simulation; the seed in there does not count.
  bool quiet = false;          ///< Prints nothing about a seed that fails.
};

static_assert(std::is_trivially_destructible_v<sim_search_options>,
              "it may stand in an awaited expression (docs/compilers.md)");

/// What a search has come to.
class sim_search_result {
public:
  /// True if a seed has failed.
  [[nodiscard]] bool found() const noexcept { return error_ != nullptr; }
  /// The seed that failed.
  [[nodiscard]] std::uint64_t seed() const noexcept { return seed_; }
  /// How many seeds have run.
  [[nodiscard]] std::uint64_t runs() const noexcept { return runs_; }
  /// What went wrong with it, in words.
  [[nodiscard]] const std::string& what() const noexcept { return what_; }
  /// The command that runs the failing seed again.
  [[nodiscard]] const std::string& replay() const noexcept { return replay_; }
  /// Throws what the failing seed threw, if one has failed.
  void rethrow() const {
    if (error_ != nullptr) std::rethrow_exception(error_);
  }

private:
  template <class Body>
  friend sim_search_result sim_search(const sim_search_options&, Body&&);

  std::uint64_t seed_ = 0;
  std::uint64_t runs_ = 0;
  std::string what_;
  std::string replay_;
  std::exception_ptr error_;
};

namespace detail {

/// The seeds of a search.
struct seed_range {
  std::uint64_t first;
  std::uint64_t count;
};

/// A whole number, at the front of `text` and taken off it; false if there is none, or if it is
/// larger than a seed.
inline bool take_number(std::string_view& text, std::uint64_t& number) noexcept {
  constexpr std::uint64_t largest = (std::numeric_limits<std::uint64_t>::max)();
  const std::size_t size = text.size();
  number = 0;
  while (!text.empty() && text.front() >= '0' && text.front() <= '9') {
    const auto digit = static_cast<std::uint64_t>(text.front() - '0');
    if (number > (largest - digit) / 10) return false;
    number = number * 10 + digit;
    text.remove_prefix(1);
  }
  return text.size() != size;
}

inline std::string_view environment(const char* name) noexcept {
  const char* const value = std::getenv(name);
  return value != nullptr ? std::string_view(value) : std::string_view();
}

/// What the environment asks for, or else the options. Throws where it asks for nonsense: a typing
/// error must not look like a search that has found nothing.
inline seed_range seeds_of(std::uint64_t first, std::uint64_t count) {
  const std::string_view one = environment("TROUPE_SEED");
  if (std::string_view rest = one; !rest.empty()) {
    seed_range only{0, 1};
    if (take_number(rest, only.first) && rest.empty()) return only;
    throw std::invalid_argument("TROUPE_SEED is not a number: " + std::string(one));
  }
  const std::string_view many = environment("TROUPE_SEEDS");
  if (many.empty()) return {first, count};
  std::string_view rest = many;
  seed_range range{first, 0};
  bool good = take_number(rest, range.count);
  if (good && rest.starts_with('+')) {
    rest.remove_prefix(1);
    range.first = range.count;
    good = take_number(rest, range.count);
  }
  if (good && rest.empty() && range.count != 0) return range;
  throw std::invalid_argument("TROUPE_SEEDS is neither a count, 1 or more, nor first+count: " +
                              std::string(many));
}

/// As a shell reads one word.
inline std::string shell_word(const std::string& word) {
  constexpr std::string_view plain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";
  if (!word.empty() && word.find_first_not_of(plain) == std::string::npos) return word;
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

/// How this program was started, where the system tells.
inline std::string command_line() {
  std::string text;
  std::FILE* const file = std::fopen("/proc/self/cmdline", "rb");
  if (file == nullptr) return "<this program>";
  std::string word;
  for (int c = std::fgetc(file); c != EOF; c = std::fgetc(file)) {
    if (c != 0) {
      word += static_cast<char>(c);
      continue;
    }
    text += (text.empty() ? "" : " ") + shell_word(word);
    word.clear();
  }
  std::fclose(file);
  return text;
}

inline std::string text_of(const std::exception_ptr& e) {
  try {
    std::rethrow_exception(e);
  } catch (const std::exception& x) {
    return x.what();
  } catch (...) {
    return "an exception that is no std::exception (a failed assertion of a test framework?)";
  }
}

/// While it stands, a program that aborts (a failed assertion, an exception that nobody catches)
/// says first which seed it ran.
class replay_on_abort {
public:
  explicit replay_on_abort(const char* line) noexcept {
    outer_line_ = current().exchange(line, order::relaxed);
    outer_ = std::signal(SIGABRT, &replay_on_abort::print);
  }
  replay_on_abort(const replay_on_abort&) = delete;
  replay_on_abort& operator=(const replay_on_abort&) = delete;
  ~replay_on_abort() {
    std::signal(SIGABRT, outer_);
    current().store(outer_line_, order::relaxed);
  }

private:
  static atomic<const char*>& current() noexcept {
    static constinit atomic<const char*> line{nullptr};
    return line;
  }
  static void print(int) noexcept {
    const char* const line = current().load(order::relaxed);
    if (line != nullptr) std::fputs(line, stderr);
    std::signal(SIGABRT, SIG_DFL);
    std::abort();
  }

  const char* outer_line_;
  void (*outer_)(int);
};

/// One run. Empty if it succeeded.
template <class Body>
std::exception_ptr run_seed(const sim_options& options, Body& body) noexcept {
  using result = std::invoke_result_t<Body&, sim_executor&>;
  try {
    sim_executor sim(options);
    try {
      if constexpr (std::is_void_v<result>) {
        body(sim);
      } else if constexpr (is_task<result>) {
        static_cast<void>(sim.run(body(sim)));
      } else {
        if (!static_cast<bool>(body(sim))) throw sim_failure("the test gave false");
      }
    } catch (...) {
      // The first failure is the cause of what the others only suffer from.
      return sim.failure() ? sim.failure() : std::current_exception();
    }
    return sim.failure();
  } catch (...) {
    return std::current_exception();
  }
}

}  // namespace detail

/// Runs `body(sim)` under one seed after the other, each in a simulation of its own, until one
/// fails: the body throws, gives false, or a `sim_expect` does not hold. A body that gives a task
/// has it run. Says on standard error which seed failed, how, and how to run it again.
template <class Body>
[[nodiscard("ask it whether a seed has failed")]] sim_search_result sim_search(
    const sim_search_options& options, Body&& body) {
  const detail::seed_range seeds = detail::seeds_of(options.first, options.count);
  const std::string command = detail::command_line();
  sim_search_result found;
  for (; found.runs_ < seeds.count && !found.found(); ++found.runs_) {
    sim_options run = options.run;
    run.seed = seeds.first + found.runs_;
    found.seed_ = run.seed;
    found.replay_ = "TROUPE_SEED=" + std::to_string(run.seed) + " " + command;
    const std::string last_words = "troupe: aborted under a seed; replay: " + found.replay_ + "\n";
    const detail::replay_on_abort guard(last_words.c_str());
    found.error_ = detail::run_seed(run, body);
  }
  if (!found.found()) {
    found.replay_.clear();
    return found;
  }
  found.what_ = detail::text_of(found.error_);
  if (!options.quiet) {
    std::fprintf(stderr, "troupe: seed %llu fails: %s\nreplay: %s\n",
                 static_cast<unsigned long long>(found.seed_), found.what_.c_str(),
                 found.replay_.c_str());
  }
  return found;
}

/// The same for tests that are to fail where a seed does: throws what that seed threw.
template <class Body>
void for_each_seed(const sim_search_options& options, Body&& body) {
  sim_search(options, body).rethrow();
}

}  // namespace troupe
