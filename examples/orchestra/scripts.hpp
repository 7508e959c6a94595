// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The scripts, which servers ask for and workers run.

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string_view>
#include <vector>

#include <troupe/job.hpp>

namespace orchestra {

struct add {
  struct params {
    double a = 0, b = 0;
  };
  using result = double;
  static constexpr std::string_view name = "add";

  result operator()(params p) { return p.a + p.b; }
};

/// A part of the Mandelbrot set.
struct picture {
  std::uint32_t width = 0, height = 0;
  std::uint32_t iterations = 400;
  double left = -0.7463 - 0.005, top = 0.1102 + 0.00375;
  double step = 0.01;  ///< From one pixel to the next.
};

/// Three bytes a pixel.
inline std::vector<std::uint8_t> render_row(const picture& p, std::uint32_t row) {
  std::vector<std::uint8_t> pixels;
  pixels.reserve(std::size_t{3} * p.width);
  const double y = p.top - p.step * row;
  for (std::uint32_t column = 0; column != p.width; ++column) {
    const double x = p.left + p.step * column;
    double re = 0, im = 0;
    std::uint32_t n = 0;
    for (; n != p.iterations && re * re + im * im <= 4; ++n) {
      const double next = re * re - im * im + x;
      im = 2 * re * im + y;
      re = next;
    }
    const std::uint32_t shade = n == p.iterations ? 0 : n;
    pixels.push_back(static_cast<std::uint8_t>(shade * 5));
    pixels.push_back(static_cast<std::uint8_t>(shade * 3));
    pixels.push_back(static_cast<std::uint8_t>(shade * 9));
  }
  return pixels;
}

/// Computes for long, so it runs where it may block; tells each row as soon as it has it.
struct render_tile {
  struct params {
    picture of;
    std::uint32_t first = 0, rows = 0;
  };
  using result = std::uint32_t;  ///< So many rows.
  using progress = double;       ///< From 0 to 1.
  struct output {
    std::uint32_t row = 0;
    std::vector<std::uint8_t> pixels;
  };
  static constexpr std::string_view name = "render_tile";
  static constexpr bool blocking = true;

  result operator()(params p, troupe::job_context& ctx) {
    for (std::uint32_t i = 0; i != p.rows; ++i) {
      if (ctx.stop_token().stop_requested()) throw std::runtime_error("asked to stop");
      const output done{p.first + i, render_row(p.of, p.first + i)};
      if (!ctx.write(done)) throw std::runtime_error("a row was not taken");
      ctx.progress((i + 1.0) / p.rows);
    }
    return p.rows;
  }
};

inline troupe::workspace all_scripts() {
  troupe::workspace scripts;
  scripts.add<add>().add<render_tile>();
  return scripts;
}

}  // namespace orchestra
