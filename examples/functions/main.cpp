// SPDX-License-Identifier: MIT
// A host of functions: four modules, built as shared libraries beside this program, found by a
// loader and called by name. What does a call cost, in this process and in a sandbox, and what
// becomes of those who mean harm?

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <troupe.hpp>
#include <troupe/function.hpp>

using namespace std::chrono_literals;

namespace {

constexpr int hot_calls = 2000;
constexpr int cold_calls = 40;

std::string path_of(std::string_view module, std::string_view version) {
  return std::string(TROUPE_EXAMPLE_MODULES "/") + std::string(module) + "-" +
         std::string(version) + ".so";
}

void print(const char* what, std::vector<double>& microseconds) {
  std::sort(microseconds.begin(), microseconds.end());
  double sum = 0;
  for (const double one : microseconds) sum += one;
  const auto at = [&](double share) {
    return microseconds[static_cast<std::size_t>(share *
                                                 static_cast<double>(microseconds.size() - 1))];
  };
  std::printf("  %-18s Min %9.2f  P50 %9.2f  Avg %9.2f  P95 %9.2f us\n", what, at(0), at(0.5),
              sum / static_cast<double>(microseconds.size()), at(0.95));
}

double microseconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin)
      .count();
}

/// Hot: the module is there. Cold: it is loaded for this call.
troupe::task<> measure(troupe::function_host& functions) {
  constexpr troupe::function_request mean{
      .module = "calculator", .version = "v1.0.0", .func = "mean"};
  std::vector<double> hot;
  std::vector<double> cold;
  double sum = 0;
  for (int i = 0; i < cold_calls; ++i) {
    co_await functions.terminate();
    const auto begin = std::chrono::steady_clock::now();
    sum += co_await functions.trigger<double>(mean, 2.0, 3.0);
    cold.push_back(microseconds_since(begin));
  }
  for (int i = 0; i < hot_calls; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    sum += co_await functions.trigger<double>(mean, 2.0, 3.0);
    hot.push_back(microseconds_since(begin));
  }
  if (sum != 2.5 * (hot_calls + cold_calls)) std::printf("  wrong sums\n");
  print("hot", hot);
  print("cold", cold);
}

/// Values, state, an exception.
troupe::task<> use(troupe::function_host& functions) {
  const auto counts = co_await functions.trigger<std::map<std::string, int>>(
      {.module = "text", .version = "v1.0.0", .func = "count"}, "to be or not to be");
  for (const auto& [word, count] : counts) std::printf("  %s %d", word.c_str(), count);
  const auto zoe = co_await functions.trigger<std::string>(
      {.module = "text", .version = "v1.0.0", .func = "reverse"}, "");
  std::printf("\n  an empty text comes back empty: %s\n", zoe.empty() ? "yes" : "no");

  for (const char* const key : {"alice", "alice", "bob"}) {
    const int next = co_await functions.trigger<int>(
        {.module = "counter", .version = "v1.0.0", .func = "next_after", .key = key}, 1);
    std::printf("  counter of %s: %d\n", key, next);
  }
  try {
    co_await functions.trigger<std::map<std::string, int>>(
        {.module = "text", .version = "v1.0.0", .func = "count"}, "");
  } catch (const troupe::module_error& e) {
    std::printf("  it threw %s: %s\n", std::string(e.type()).c_str(), e.what());
  }
}

troupe::task<> provoke(troupe::function_host& functions, const char* function) {
  const troupe::function_request request{
      .module = "hostile", .version = "v1.0.0", .func = function, .limit = 1s};
  const auto begin = std::chrono::steady_clock::now();
  std::string outcome = "it came back";
  try {
    const troupe::shared_bytes reply =
        co_await functions.trigger({.module = request.module,
                                    .version = request.version,
                                    .func = request.func,
                                    .payload = troupe::payload_view(troupe::encode(std::tuple<>())),
                                    .limit = request.limit});
    const auto text = troupe::decode<std::string>(reply);
    if (text.has_value()) outcome = "it says " + *text;
  } catch (const std::exception& e) {
    outcome = e.what();
  }
  std::printf("  %-12s %4.0f ms  %s\n", function, microseconds_since(begin) / 1000,
              outcome.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  troupe::sandbox_main(argc, argv);  // sandboxes are forked by this program, started once more
  troupe::broker broker;
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  for (const auto kept : {troupe::isolation::in_process, troupe::isolation::process}) {
    const bool is_sandbox = kept == troupe::isolation::process;
    troupe::function_host functions{broker, {.kept = kept}};
    functions.define_loader(path_of);

    std::printf("%s\n", is_sandbox ? "in sandboxed processes" : "in this process");
    broker.run(measure(functions));
    broker.run(use(functions));
    if (!is_sandbox) continue;

    std::printf("what is hostile\n");
    for (const char* const function :
         {"loop", "crash", "eat_memory", "open_socket", "read_passwd", "fork_bomb"}) {
      broker.run(provoke(functions, function));
    }
    std::printf("the others\n");
    broker.run(use(functions));
  }
}
