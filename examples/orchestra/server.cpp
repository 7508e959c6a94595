// SPDX-License-Identifier: MIT
// Adds jobs and prints what becomes of them; the composer is here as well. On the network in memory
// it runs them, too.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <troupe.hpp>
#include <troupe/job.hpp>

#include "networks.hpp"
#include "progress.hpp"
#include "scripts.hpp"

namespace {

struct wishes {
  std::string network = "memory";
  unsigned workers = 0;
  std::uint64_t count = 0;
  double every = 2;
  std::string schedule;
  std::string picture;
  std::string size = "640x480";
  std::uint32_t iterations = 400;
};

// --- sums ---------------------------------------------------------------------------------------

troupe::task<> add_one(troupe::client& jobs, double a, double b) {
  const troupe::job_id job = co_await jobs.queue<orchestra::add>(a, b);
  std::cout << "Added job " << to_string(job) << " to the queue" << std::endl;
  try {
    const double sum = co_await jobs.result<orchestra::add>(job);
    std::cout << "Job succeeded: " << a << " + " << b << " = " << sum << std::endl;
  } catch (const troupe::job_failed& e) {
    std::cout << "Job failed: " << e.what() << std::endl;
  }
}

/// `count` of them; 0: until a signal comes.
troupe::task<> add_many(troupe::client& jobs, const wishes& w) {
  const auto pause =
      std::chrono::duration_cast<troupe::duration>(std::chrono::duration<double>(w.every));
  for (std::uint64_t i = 0; w.count == 0 || i != w.count; ++i) {
    if (i != 0) co_await troupe::sleep_for(pause);
    co_await add_one(jobs, 1, static_cast<double>(2 + i));
  }
}

// --- a picture ----------------------------------------------------------------------------------

orchestra::picture read_picture(const wishes& w) {
  orchestra::picture p;
  const std::size_t cross = w.size.find('x');
  if (cross == std::string::npos) throw std::invalid_argument("a size is like 640x480");
  p.width = static_cast<std::uint32_t>(std::stoul(w.size.substr(0, cross)));
  p.height = static_cast<std::uint32_t>(std::stoul(w.size.substr(cross + 1)));
  constexpr std::uint32_t most = 16384;
  if (p.width == 0 || p.height == 0 || p.width > most || p.height > most) {
    throw std::invalid_argument("a picture has 1 to 16384 rows and columns");
  }
  p.iterations = w.iterations;
  p.step = 0.01 / p.width;
  return p;
}

/// Its rows, one after the other.
using image = std::vector<std::vector<std::uint8_t>>;

/// As many rows as one job may tell in all its attempts: what was told stays told.
std::uint32_t rows_of_tile(const orchestra::picture& p) {
  constexpr std::uint32_t most_attempts = 12;  // by the options of the jobs below
  constexpr std::uint32_t most_bytes =
      (1 << 20) / (most_attempts + 1);  // and some for the rest of a row
  const std::uint32_t fitting = (std::max)(most_bytes / (3 * p.width), 1U);
  return (std::min)({fitting, (p.height + 7) / 8, 1024U / most_attempts});
}

troupe::task<> follow(troupe::client& jobs, troupe::job_id job, std::string name, image& to,
                      orchestra::progress_board& board) {
  auto stream = jobs.stream<orchestra::render_tile>(job);
  for (;;) {
    auto update = co_await stream.next();
    if (!update) break;
    for (auto& row : update->output) to.at(row.row) = std::move(row.pixels);
    if (update->progress) board.show(name, *update->progress);
  }
  const std::uint32_t rows = co_await jobs.result<orchestra::render_tile>(job);
  board.done(name, std::to_string(rows) + " rows");
}

troupe::task<> render(troupe::client& jobs, const wishes& w) {
  const orchestra::picture p = read_picture(w);
  const std::uint32_t rows = rows_of_tile(p);
  image to(p.height);
  orchestra::progress_board board;
  // A worker that is killed is noticed in a few seconds, and its tile is rendered again.
  const troupe::job_options options{.attempts = 3, .losses = 10, .lease = std::chrono::seconds(3)};
  std::vector<troupe::task<>> tiles;
  for (std::uint32_t first = 0; first < p.height; first += rows) {
    const std::uint32_t here = (std::min)(rows, p.height - first);
    const orchestra::render_tile::params tile{p, first, here};
    const troupe::job_id job = co_await jobs.queue<orchestra::render_tile>(options, tile);
    tiles.push_back(follow(jobs, job, "tile at row " + std::to_string(first), to, board));
  }
  co_await troupe::when_all(std::move(tiles));

  std::ofstream file(w.picture, std::ios::binary);
  file << "P6\n" << p.width << ' ' << p.height << "\n255\n";
  bool is_same = true;
  for (std::uint32_t row = 0; row != p.height; ++row) {
    file.write(reinterpret_cast<const char*>(to[row].data()),
               static_cast<std::streamsize>(to[row].size()));
    is_same = is_same && (row % 16 != 0 || to[row] == orchestra::render_row(p, row));
  }
  if (!file.flush()) throw std::runtime_error("cannot write " + w.picture);
  if (!is_same) throw std::runtime_error("a row is not what it should be");
  std::cout << w.picture << ": " << w.size << ", as it should be" << std::endl;
}

// --- all of it ----------------------------------------------------------------------------------

troupe::task<> serve(troupe::client& jobs, const wishes& w) {
  if (!w.schedule.empty()) {
    const bool is_new = co_await jobs.schedule<orchestra::add>("sum", w.schedule, 20.0, 22.0);
    std::cout << (is_new ? "Scheduled" : "Was scheduled already") << std::endl;
  }
  if (!w.picture.empty()) co_await render(jobs, w);
  if (w.picture.empty() || w.count != 0) co_await add_many(jobs, w);
}

void set_up(CLI::App& app, wishes& w) {
  app.add_option("--network", w.network, orchestra::network_help)->capture_default_str();
  app.add_option("--workers", w.workers,
                 "on the network in memory, run so many jobs at once; 0: one per core")
      ->capture_default_str();
  app.add_option("--count", w.count, "add so many sums; 0: until Ctrl-C, if there is no picture")
      ->capture_default_str();
  app.add_option("--every", w.every, "seconds between sums")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
  app.add_option("--schedule", w.schedule,
                 "also add a sum whenever this says so, in UTC: \"*/10 * * * * *\", \"@hourly\"");
  app.add_option("--picture", w.picture, "render the Mandelbrot set into this file (PPM)");
  app.add_option("--size", w.size, "of the picture")->capture_default_str();
  app.add_option("--iterations", w.iterations, "of each of its points")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
}

}  // namespace

int main(int argc, char** argv) try {
  wishes w;
  CLI::App app("Adds jobs, which workers run, and prints their results.");
  set_up(app, w);
  CLI11_PARSE(app, argc, argv);

  troupe::broker broker;
  const std::unique_ptr<troupe::network> net = orchestra::open_network(broker.runs_on(), w.network);
  const troupe::workspace scripts = orchestra::all_scripts();
  const troupe::composer composer(*net);
  std::optional<troupe::instrument> here;
  if (w.network == "memory") {
    here.emplace(*net, scripts, troupe::instrument_options{.workers = w.workers});
  }
  troupe::client jobs(*net, scripts);
  std::cout << "Orchestra ready!" << std::endl;
  try {
    broker.run_until_signal(serve(jobs, w));
  } catch (const troupe::error& e) {
    if (e.code() != troupe::errc::cancelled) throw;  // that was the signal
  }
} catch (const std::exception& e) {
  std::cerr << "server: " << e.what() << '\n';
  return 1;
}
