// SPDX-License-Identifier: MIT
// The program of all models: `model --help` says what it can do.

#include <model/checker/checker.hpp>
#include <model/checker/mutations.hpp>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>

namespace troupe::model {
namespace {

constexpr const char* help =
    "model [name...]                  explores the models whose names begin so (all, if none)\n"
    "model --list                     names them\n"
    "model --replay=<model>:<script>  one execution again, step by step\n"
    "model --mutate [--show]          weakens each memory order in turn: some model has to fail\n"
    "  --times=<n>                    n times as many executions\n"
    "  --seed=<n>                     of the first random execution\n";

struct request {
  std::vector<std::string_view> names;
  std::string_view replay;
  bool mutate = false;
  bool show = false;
  bool list = false;
  std::uint64_t times = 1;
  std::uint64_t seed = 1;
};

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

bool chosen(const request& r, const scenario& s) {
  if (r.names.empty()) return true;
  for (const std::string_view n : r.names) {
    if (s.name.starts_with(n)) return true;
  }
  return false;
}

/// The beginning and the end, where it is long; a replay shows all of it.
std::string shortened(const std::string& text) {
  constexpr std::size_t kept = 6000;
  if (text.size() < 3 * kept) return text;
  const std::size_t first = text.find('\n', kept) + 1;
  const std::size_t last = text.find('\n', text.size() - kept) + 1;
  return text.substr(0, first) + "  ...\n" + text.substr(last);
}

void report(const scenario& s, const verdict& v) {
  std::printf("%.*s FAILED: %s\n%s  again: model '--replay=%.*s:%s'\n",
              static_cast<int>(s.name.size()), s.name.data(), v.failure.c_str(),
              shortened(v.interleaving).c_str(), static_cast<int>(s.name.size()), s.name.data(),
              v.script.c_str());
}

/// False if it failed.
bool explore(const scenario& s, const request& r) {
  const auto begin = std::chrono::steady_clock::now();
  limits bounds = s.bounds;
  bounds.executions *= r.times;
  verdict v = search(s.body, bounds);
  const std::uint64_t searched = v.executions;
  const bool complete = v.complete;
  std::uint64_t drawn = 0;
  if (!v.failed() && bounds.draws != 0) {
    v = draw(s.body, bounds, r.seed, bounds.draws * r.times);
    drawn = v.executions;
  }
  if (v.failed()) {
    report(s, v);
    return false;
  }
  std::string outcomes;
  for (const std::int64_t o : v.outcomes) outcomes += ' ' + std::to_string(o);
  if (!outcomes.empty()) outcomes = ", outcomes" + outcomes;
  std::printf("%-34.*s %9llu searched%s, %8llu drawn, %4u steps, %.1f s%s\n",
              static_cast<int>(s.name.size()), s.name.data(),
              static_cast<unsigned long long>(searched), complete ? " (all)" : "      ",
              static_cast<unsigned long long>(drawn), v.longest, seconds_since(begin),
              outcomes.c_str());
  std::fflush(stdout);
  return true;
}

int replay_one(std::string_view what) {
  const std::size_t colon = what.find(':');
  for (const scenario* s : scenarios()) {
    if (s->name != what.substr(0, colon) || colon == std::string_view::npos) continue;
    const verdict v = replay(s->body, s->bounds, what.substr(colon + 1));
    std::printf("%s%s\n", v.interleaving.c_str(), v.failed() ? v.failure.c_str() : "no failure");
    return v.failed() ? 1 : 0;
  }
  std::fputs("there is no such model\n", stderr);
  return 2;
}

bool read_number(std::string_view argument, std::string_view name, std::uint64_t& to) {
  if (!argument.starts_with(name)) return false;
  std::from_chars(argument.data() + name.size(), argument.data() + argument.size(), to);
  return true;
}

bool understand(int count, char** arguments, request& r) {
  constexpr std::string_view replay_option = "--replay=";
  for (int i = 1; i < count; ++i) {
    const std::string_view a = arguments[i];
    if (a == "--list") {
      r.list = true;
    } else if (a == "--mutate") {
      r.mutate = true;
    } else if (a == "--show") {
      r.show = true;
    } else if (a.starts_with(replay_option)) {
      r.replay = a.substr(replay_option.size());
    } else if (read_number(a, "--times=", r.times) || read_number(a, "--seed=", r.seed)) {
      continue;
    } else if (!a.starts_with("-")) {
      r.names.push_back(a);
    } else {
      return false;
    }
  }
  return true;
}

int answer(const request& r) {
  if (!r.replay.empty()) return replay_one(r.replay);
  std::vector<const scenario*> all;
  for (const scenario* s : scenarios()) {
    if (chosen(r, *s)) all.push_back(s);
  }
  if (r.mutate) return check_mutations(all, r.names.empty(), r.show, r.times) ? 0 : 1;
  bool good = !all.empty();
  for (const scenario* s : all) {
    if (r.list) {
      std::printf("%.*s\n", static_cast<int>(s->name.size()), s->name.data());
    } else {
      good = explore(*s, r) && good;
    }
  }
  return good ? 0 : 1;
}

}  // namespace
}  // namespace troupe::model

int main(int count, char** arguments) {
  troupe::model::request r;
  if (!troupe::model::understand(count, arguments, r)) {
    std::fputs(troupe::model::help, stderr);
    return 2;
  }
  return troupe::model::answer(r);
}
