// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A network in memory with some jobs in it, to try the commands on.

#include <chrono>
#include <stdexcept>
#include <string>

#include <troupe.hpp>
#include <troupe/job.hpp>

namespace job_tool {

struct greet {
  using params = std::string;
  using result = std::string;
  static constexpr std::string_view name = "greet";
  result operator()(params who) { return "Hello " + who; }
};

struct fail {
  using params = std::string;
  using result = void;
  static constexpr std::string_view name = "fail";
  void operator()(params why) { throw std::runtime_error(why); }
};

struct count {
  using params = int;
  using result = int;
  static constexpr std::string_view name = "count";
  troupe::task<int> operator()(params to, troupe::job_context& ctx) {
    for (int i = 1; i <= to; ++i) {
      co_await troupe::sleep_for(std::chrono::milliseconds(100));
      ctx.progress(i / double(to));
    }
    co_return to;
  }
};

/// Nobody runs it.
struct wait {
  using params = std::string;
  using result = void;
  static constexpr std::string_view name = "wait";
  void operator()(params) {}
};

class demo {
public:
  explicit demo(troupe::executor& on)
      : net_(on), composer_(net_), instrument_(net_, known(), {.workers = 4, .name = "here"}) {}

  troupe::network& net() noexcept { return net_; }

  troupe::task<> fill() {
    troupe::client jobs(net_, known().add<wait>());
    const std::string world = "world";
    const std::string why = "it does nothing but fail";
    const auto greeted = co_await jobs.queue<greet>(world);
    const auto failed = co_await jobs.queue<fail>(why);
    static_cast<void>(co_await jobs.completion(greeted));
    static_cast<void>(co_await jobs.completion(failed));
    static_cast<void>(co_await jobs.queue<count>(100));
    const troupe::job_options later{.delay = std::chrono::hours(1)};
    static_cast<void>(co_await jobs.queue<greet>(later, world));
    static_cast<void>(co_await jobs.queue<wait>(world));
    static_cast<void>(co_await jobs.schedule<greet>("morning", "0 6 * * mon-fri", world));
  }

private:
  static troupe::workspace known() {
    troupe::workspace scripts;
    scripts.add<greet>().add<fail>().add<count>();
    return scripts;
  }

  troupe::memory_network net_;
  troupe::composer composer_;
  troupe::instrument instrument_;
};

}  // namespace job_tool
