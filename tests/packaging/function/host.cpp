// SPDX-License-Identifier: MIT
// A program that runs the module in a sandbox: host <folder of modules>. The helper is beside it.
#include <iostream>
#include <string>
#include <string_view>

#include <unistd.h>

#include <troupe.hpp>
#include <troupe/function.hpp>

troupe::task<> use(troupe::function_host& functions) {
  troupe::function_request request{.module = "calculator", .version = "v1.0.0", .func = "mean"};
  const double mean = co_await functions.trigger<double>(request, 2.0, 3.0);
  request.func = "process";
  const long process = co_await functions.trigger<long>(request);
  const char* const where = process == ::getpid() ? "this" : "another";
  std::cout << "the mean is " << mean << ", computed in " << where << " process\n";
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  troupe::broker broker;
  troupe::function_host_options options;
  // The kernel of whoever tries this may give less than a module of somebody else's needs.
  options.sandbox.require = troupe::sandbox_level::process();
  troupe::function_host functions{broker, options};
  functions.define_loader(
      [folder = std::string(argv[1])](std::string_view module, std::string_view version) {
        return folder + "/" + std::string(module) + "-" + std::string(version) + ".so";
      });
  broker.run(use(functions));
}
