// SPDX-License-Identifier: MIT
// Three sources at once, each with a time limit, then two stages. A source that is late costs its
// own reading and nobody else's time.
#include <chrono>
#include <iostream>
#include <string>
#include <troupe.hpp>
#include <vector>

using namespace std::chrono_literals;

struct sensor {
  explicit sensor(troupe::context& surroundings) : ctx(surroundings) {}

  troupe::task<std::string> read() {
    if (ctx.key() == "attic") co_await troupe::sleep_for(10s);  // its battery is low
    co_await troupe::sleep_for(1ms);
    co_return ctx.key() == "cellar" ? "12.5" : "21.0";
  }

  troupe::context& ctx;
};
TROUPE_METHODS(sensor, read)

struct parser {
  double parse(std::string_view text) const { return std::stod(std::string(text)); }
};
TROUPE_METHODS(parser, parse)

struct log_book {
  void add(std::string_view place, double degrees) {
    std::cout << place << ": " << degrees << " degrees, entry " << ++entries << '\n';
  }
  int entries = 0;
};
TROUPE_METHODS(log_book, add)

// One reading on its way through all stages; false if the sensor did not answer in time.
troupe::task<bool> pass_through(troupe::broker& broker, std::string place) {
  auto source = broker.worker<sensor>(place);
  auto stage = broker.worker<parser>();
  auto sink = broker.worker<log_book>();
  // As a value instead of an exception, since a late sensor is nothing unusual.
  auto text = co_await troupe::as_result(source->read().within(100ms));
  if (!text) co_return false;
  const double degrees = co_await stage->parse(*text);
  co_await sink->add(place, degrees);
  co_return true;
}

troupe::task<> read_all(troupe::broker& broker) {
  const auto begin = std::chrono::steady_clock::now();
  auto [cellar, kitchen, attic] =
      co_await troupe::when_all(pass_through(broker, "cellar"), pass_through(broker, "kitchen"),
                                pass_through(broker, "attic"));
  const auto took = std::chrono::steady_clock::now() - begin;
  std::cout << "answered: " << cellar + kitchen + attic << " of 3\n";
  std::cout << (took < 5s ? "nobody waited for the attic\n" : "too slow\n");
}

int main() {
  troupe::broker broker;
  broker.run(read_all(broker));
}
