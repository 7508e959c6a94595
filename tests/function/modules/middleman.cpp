// SPDX-License-Identifier: MIT
// A module that calls others.

#include <chrono>
#include <string>
#include <troupe.hpp>
#include <troupe/function/host_of.hpp>
#include <troupe/function/module.hpp>

struct middleman {
  explicit middleman(troupe::context& ctx) : host_(troupe::host_of(ctx)) {}

  troupe::task<double> mean(double a, double b) {
    co_return co_await host_.trigger<double>(
        {.module = "calculator", .version = "v1.0.0", .func = "mean"}, a, b);
  }
  troupe::task<std::string> who() {
    co_return co_await host_.trigger<std::string>(
        {.module = "calculator", .version = "v1.0.0", .func = "who"});
  }
  troupe::task<int> call(std::string module, std::string function) {
    co_return co_await host_.trigger<int>(
        {.module = module, .func = function, .limit = std::chrono::seconds(10)});
  }

private:
  troupe::module_host host_;
};
TROUPE_METHODS(middleman, mean, who, call)
TROUPE_MODULE(middleman, "v1.0.0");
