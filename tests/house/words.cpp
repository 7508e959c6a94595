// SPDX-License-Identifier: MIT
// What must not be named in the library, or only in its one home. Each entry says what to use.

#include <algorithm>

#include "source_tree.hpp"

namespace house {
namespace {

struct banned {
  std::string_view word;
  std::string_view home;  // the one file that may name it; empty: none
  std::string_view instead;
};

constexpr banned banned_words[] = {
    {"thread_local", "include/troupe/coro/thread_state.hpp",
     "ask coro/thread_state.hpp: compilers keep a thread_local's address across a suspension"},
    {"__thread", "", "ask coro/thread_state.hpp"},
    {"steady_clock::now", "include/troupe/time/clock.hpp",
     "read the executor's clock: a simulated run has its own time"},
    {"high_resolution_clock", "", "read the executor's clock"},
    {"system_clock", "include/troupe/time/clock.hpp",
     "read time/clock.hpp: a simulated run has its own time"},
    {"std::rand", "", "draw from the executor's random source: a run is a function of its seed"},
    {"std::srand", "", "draw from the executor's random source"},
    {"atomic_thread_fence", "",
     "order an atomic operation instead: ThreadSanitizer sees no fences"},
    {"this_thread::sleep_for", "", "await troupe::sleep_for, or park on an event_count"},
    {"this_thread::sleep_until", "", "await troupe::sleep_until, or park on an event_count"},
    {"std::atomic", "include/troupe/sync/atomic.hpp",
     "use troupe::atomic of sync/atomic.hpp: a model checker replaces it there"},
    {"std::atomic_ref", "include/troupe/sync/atomic.hpp", "use the alias of sync/atomic.hpp"},
    {"std::atomic_flag", "include/troupe/sync/atomic.hpp", "use troupe::atomic<bool>"},
};

void check_banned(const std::string& path, const source_file& file, findings& found) {
  for (const banned& one : banned_words) {
    if (path == one.home) continue;
    std::size_t position = find_word(file.code, one.word);
    for (; position != std::string::npos; position = find_word(file.code, one.word, position + 1)) {
      found.push_back({path, file.line_of(position),
                       "names " + std::string(one.word) + "; " + std::string(one.instead)});
    }
  }
}

// <functional> costs a fifth of a second in every file that includes it: the layers below do not
// pay.
void check_costly_includes(const std::string& path, const source_file& file, findings& found) {
  static constexpr std::string_view lean[] = {"config", "fwd",  "base", "sync", "time",
                                              "codec",  "coro", "exec", "net"};
  const bool is_lean = std::ranges::count(lean, layer_of(path)) != 0;
  for (const include& edge : includes_of(file)) {
    if (is_lean && edge.target == "functional") {
      found.push_back(
          {path, edge.line,
           "includes <functional>, which is slow to compile; use base/unique_function.hpp"});
    }
    if (edge.target == "atomic" && path != "include/troupe/sync/atomic.hpp") {
      found.push_back({path, edge.line, "includes <atomic>; include <troupe/sync/atomic.hpp>"});
    }
  }
}

void check_macros(const std::string& path, const source_file& file, findings& found) {
  constexpr std::string_view define = "define";
  std::size_t position = find_word(file.code, define);
  for (; position != std::string::npos; position = find_word(file.code, define, position + 1)) {
    const std::size_t line_start = file.code.rfind('\n', position) + 1;
    const std::string_view before =
        std::string_view(file.code).substr(line_start, position - line_start);
    const std::size_t hash = before.find_first_not_of(' ');
    if (hash == std::string_view::npos || before[hash] != '#') continue;
    const std::size_t name = file.code.find_first_not_of(' ', position + define.size());
    if (name != std::string::npos && !file.code.substr(name).starts_with("TROUPE_")) {
      found.push_back({path, file.line_of(position),
                       "defines a macro that does not begin with TROUPE_; users have macros too"});
    }
  }
}

}  // namespace

findings check_words(const source_tree& tree) {
  findings found;
  for (const auto& [path, file] : tree) {
    if (!path.starts_with("include/") || !is_header(path)) continue;
    check_banned(path, file, found);
    check_costly_includes(path, file, found);
    check_macros(path, file, found);
  }
  return found;
}

}  // namespace house
