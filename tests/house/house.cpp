// SPDX-License-Identifier: MIT
// The house rules as tests: `house <root> [rule...]` reads the project and prints what breaks a
// rule; `house --self-test` shows every rule a tree that breaks it and one that does not.

#include <algorithm>
#include <iostream>
#include <iterator>

#include "source_tree.hpp"

namespace house {
namespace {

constexpr rule rules[] = {
    {"layers", "includes point down and never in a circle", check_layers},
    {"umbrella", "troupe.hpp reaches every header of the core", check_umbrella},
    {"lines", "line length, licence line, guards, no leftovers", check_lines},
    {"words", "what has one home is named only there", check_words},
    {"conditions", "no co_await in a condition or an arm of ?:", check_conditions},
};

findings run(const rule& one, const source_tree& tree) {
  return without_allowed(tree, one.name, one.check(tree));
}

const rule* find_rule(std::string_view name) {
  const auto found = std::ranges::find(rules, name, &rule::name);
  return found == std::end(rules) ? nullptr : &*found;
}

int check(const source_tree& tree, const std::vector<std::string_view>& names) {
  std::size_t count = 0;
  for (const rule& one : rules) {
    if (!names.empty() && std::ranges::count(names, one.name) == 0) continue;
    for (const finding& each : run(one, tree)) {
      std::cout << each.path << ':' << each.line << ": " << each.message << '\n';
      ++count;
    }
  }
  std::cout << tree.size() << " files read, " << count << " findings\n";
  return count == 0 ? 0 : 1;
}

struct sample {
  std::string_view rule_name;
  std::size_t findings;
  std::string_view path;
  std::string_view text;
};

// Each is one file laid into a tree that is otherwise in order.
constexpr sample samples[] = {
    {"layers", 1, "include/troupe/base/a.hpp", "#include <troupe/coro/task.hpp>\n"},
    {"layers", 1, "include/troupe/sync/a.hpp", "#include <troupe/time/clock.hpp>\n"},
    {"layers", 1, "include/troupe/gateway/a.hpp", "#include <troupe/job/job.hpp>\n"},
    {"layers", 1, "include/troupe/net/a.hpp", "#include <troupe/actor/cell.hpp>\n"},
    {"layers", 1, "include/troupe/broker/a.hpp", "#include <troupe/adapter/redis/redis.hpp>\n"},
    {"layers", 1, "include/troupe/broker/a.hpp", "#include <troupe.hpp>\n"},
    {"layers", 1, "include/troupe/broker/a.hpp", "#include <boost/asio.hpp>\n"},
    {"layers", 1, "include/troupe/base/a.hpp", "#include \"error.hpp\"\n"},
    {"layers", 1, "include/troupe/base/a.hpp", "#include <troupe/base/missing.hpp>\n"},
    {"layers", 1, "include/troupe/base/a.hpp", "#include <troupe/base/a.hpp>\n"},
    {"layers", 1, "include/troupe/extra/a.hpp", "\n"},
    {"layers", 0, "include/troupe/coro/a.hpp", "# include <troupe/time/clock.hpp>\n"},
    {"layers", 0, "include/troupe/base/a.hpp", "// #include <troupe/coro/task.hpp>\n"},
    {"layers", 0, "include/troupe/job/a.hpp", "#include <troupe/function/host.hpp>\n"},
    {"layers", 0, "include/troupe/adapter/web/a.hpp", "#include <boost/asio.hpp>\n"},
    {"layers", 0, "include/troupe/base/a.hpp",
     "#include <troupe/coro/task.hpp>  // house: allow layers: shows the waiver\n"},
    {"umbrella", 1, "include/troupe/base/a.hpp", "\n"},
    {"umbrella", 0, "include/troupe/function/a.hpp", "\n"},
    {"umbrella", 1, "include/troupe/coro/task.hpp", "#include <troupe/function/host.hpp>\n"},
    {"lines", 2, "include/troupe/base/a.hpp", "int a;\n"},
    {"lines", 1, "tests/base/a.cpp", "int a;\n"},
    {"lines", 0, "tests/base/a.cpp", "// SPDX-License-Identifier: MIT\nint a;\n"},
    {"lines", 1, "tests/base/a.cpp", "// SPDX-License-Identifier: MIT\nint a; \n"},
    {"lines", 1, "tests/base/a.cpp", "// SPDX-License-Identifier: MIT\nint a;"},
    {"lines", 1, "README.md",
     "T"
     "ODO\n"},
    {"words", 1, "include/troupe/exec/a.hpp", "thread_local int a;\n"},
    {"words", 0, "include/troupe/exec/a.hpp", "// no thread_local here\n"},
    {"words", 0, "include/troupe/coro/thread_state.hpp", "thread_local int a;\n"},
    {"words", 1, "include/troupe/exec/a.hpp", "auto t = std::chrono::steady_clock::now();\n"},
    {"words", 0, "include/troupe/exec/a.hpp", "std::chrono::steady_clock::duration d;\n"},
    {"words", 1, "include/troupe/exec/a.hpp", "std::atomic<int> a;\n"},
    {"words", 0, "include/troupe/exec/a.hpp", "const char* a = \"std::atomic\"; atomic<int> b;\n"},
    {"words", 1, "include/troupe/exec/a.hpp", "std::atomic_thread_fence(o);\n"},
    {"words", 1, "include/troupe/exec/a.hpp", "#include <functional>\n"},
    {"words", 0, "include/troupe/broker/a.hpp", "#include <functional>\n"},
    {"words", 1, "include/troupe/exec/a.hpp", "#  define min 1\n"},
    {"words", 0, "include/troupe/exec/a.hpp", "#define TROUPE_A 1\n"},
    {"conditions", 1, "tests/coro/a.cpp", "auto a = b ? co_await c() : d;\n"},
    {"conditions", 1, "tests/coro/a.cpp", "f(b ? c : (co_await d()).e, g);\n"},
    {"conditions", 0, "tests/coro/a.cpp", "f(b ? c : d, co_await e());\n"},
    {"conditions", 0, "tests/coro/a.cpp", "auto a = (co_await b()) ? c : d; co_await e();\n"},
    {"conditions", 0, "tests/coro/a.cpp", "auto a = b ? c : [] { co_await d(); }; co_await e();\n"},
    {"conditions", 1, "examples/a.cpp", "if (co_await f()) {}\n"},
    {"conditions", 1, "examples/a.cpp", "while (!(co_await f(g(1)))) {}\n"},
    {"conditions", 1, "examples/a.cpp", "for (int i = 0; co_await f(); ++i) {}\n"},
    {"conditions", 1, "examples/a.cpp", "switch\n(int{co_await f()}) {}\n"},
    {"conditions", 0, "examples/a.cpp", "if (run([] { co_await f(); })) {}\n"},
    {"conditions", 0, "examples/a.cpp", "if (f()) co_await g();  // if (co_await x)\n"},
    {"conditions", 0, "examples/a.cpp", "const bool is = co_await f(1'000); if (is) {}\n"},
    {"conditions", 0, "examples/a.cpp",
     "// house: allow conditions: shows the waiver\nif (co_await f()) {}\n"},
};

source_tree orderly_tree() {
  source_tree tree;
  std::string umbrella;
  for (const std::string_view path :
       {"troupe/time/clock.hpp", "troupe/coro/task.hpp", "troupe/actor/cell.hpp",
        "troupe/job/job.hpp", "troupe/function/host.hpp", "troupe/adapter/redis/redis.hpp"}) {
    tree.emplace("include/" + std::string(path),
                 source_file("// SPDX-License-Identifier: MIT\n#pragma once\n"));
    const bool is_apart = path.find("function") != path.npos || path.find("job") != path.npos ||
                          path.find("adapter") != path.npos;
    if (!is_apart) umbrella += "#include <" + std::string(path) + ">\n";
  }
  tree.emplace("include/troupe.hpp",
               source_file("// SPDX-License-Identifier: MIT\n#pragma once\n" + umbrella));
  return tree;
}

int self_test() {
  int failed = 0;
  for (const sample& one : samples) {
    source_tree tree = orderly_tree();
    tree.insert_or_assign(std::string(one.path), source_file(std::string(one.text)));
    const findings found = run(*find_rule(one.rule_name), tree);
    if (found.size() == one.findings) continue;
    ++failed;
    std::cout << one.rule_name << " found " << found.size() << " and not " << one.findings << " in "
              << one.path << ":\n"
              << one.text;
    for (const finding& each : found) std::cout << "  " << each.message << '\n';
  }
  std::cout << std::size(samples) << " samples, " << failed << " wrong\n";
  return failed == 0 ? 0 : 1;
}

int usage() {
  std::cout << "house --self-test\nhouse <root> [rule...], with the rules\n";
  for (const rule& one : rules) std::cout << "  " << one.name << ": " << one.summary << '\n';
  return 2;
}

}  // namespace
}  // namespace house

int main(int argc, char** argv) {
  const std::vector<std::string_view> words(argv + 1, argv + argc);
  if (words.empty()) return house::usage();
  if (words[0] == "--self-test") return house::self_test();
  const std::vector<std::string_view> names(words.begin() + 1, words.end());
  for (const std::string_view name : names) {
    if (house::find_rule(name) == nullptr) return house::usage();
  }
  return house::check(house::read_tree(std::filesystem::path(words[0])), names);
}
