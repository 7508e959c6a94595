// SPDX-License-Identifier: MIT
// Runs jobs until a signal comes; then it takes no more, and ends when it has done those it has.
#include <exception>
#include <iostream>
#include <memory>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>
#include <troupe.hpp>
#include <troupe/job.hpp>

#include "networks.hpp"
#include "scripts.hpp"

namespace {

struct wishes {
  std::string network = "redis://127.0.0.1:6379";
  unsigned workers = 0;
  std::string name;
  bool composes = false;
};

troupe::task<> wait_for_signal() {
  const auto asked = co_await troupe::as_result(troupe::sleep_for(troupe::endless));
  static_cast<void>(asked);
}

}  // namespace

int main(int argc, char** argv) try {
  wishes w;
  CLI::App app("Runs jobs that servers add to a network.");
  app.add_option("--network", w.network, orchestra::network_help)->capture_default_str();
  app.add_option("--workers", w.workers, "so many jobs at once; 0: one per core")
      ->capture_default_str();
  app.add_option("--name", w.name, "under which others see it");
  app.add_flag("--composer", w.composes, "run a composer too: any number of them may");
  CLI11_PARSE(app, argc, argv);
  if (w.network == "memory") {
    std::cerr << "worker: the network in memory ends with its process; `server` has a worker of "
                 "its own there. --network redis://host is for many processes.\n";
    return 2;
  }

  troupe::broker broker;
  const std::unique_ptr<troupe::network> net = orchestra::open_network(broker.runs_on(), w.network);
  const troupe::workspace scripts = orchestra::all_scripts();
  std::optional<troupe::composer> composer;
  if (w.composes) composer.emplace(*net);
  troupe::instrument instrument(*net, scripts, {.workers = w.workers, .name = w.name});
  std::cout << "Orchestra ready! This is " << instrument.name() << std::endl;
  broker.run_until_signal(wait_for_signal());
  std::cout << "Draining: " << instrument.running() << " jobs" << std::endl;
  broker.run(instrument.drain());
  std::cout << "Done" << std::endl;
} catch (const std::exception& e) {
  std::cerr << "worker: " << e.what() << '\n';
  return 1;
}
