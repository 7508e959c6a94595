// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A bar for each job that runs, on a terminal; elsewhere a line for each that is done.

#include <algorithm>
#include <cstddef>
#include <iostream>
#include <map>
#include <mutex>
#include <string>

#include <sys/ioctl.h>
#include <unistd.h>

namespace orchestra {

/// Thread safety: all members from any thread.
class progress_board {
public:
  progress_board() : is_terminal_(::isatty(STDOUT_FILENO) == 1) {}
  progress_board(const progress_board&) = delete;
  progress_board& operator=(const progress_board&) = delete;

  /// `part` is from 0 to 1.
  void show(const std::string& job, double part) {
    const std::lock_guard guard(lock_);
    bars_[job] = (std::clamp)(part, 0.0, 1.0);
    if (is_terminal_) draw();
  }
  void done(const std::string& job, const std::string& how) {
    const std::lock_guard guard(lock_);
    bars_.erase(job);
    rub_out();
    std::cout << job << ": " << how << '\n';
    if (is_terminal_) draw();
    std::cout.flush();
  }

private:
  static constexpr std::size_t bar_width = 40;

  static std::size_t most_bars() {
    winsize size{};
    const bool is_known = ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 4;
    return is_known ? size.ws_row - 2U : 8U;
  }

  void rub_out() {
    if (drawn_ != 0) std::cout << "\x1b[" << drawn_ << "F\x1b[J";  // up, and all below
    drawn_ = 0;
  }
  void draw() {
    rub_out();
    const std::size_t most = most_bars();
    for (const auto& [job, part] : bars_) {
      if (drawn_ == most) break;
      const auto full = static_cast<std::size_t>(part * bar_width);
      std::cout << '[' << std::string(full, '#') << std::string(bar_width - full, '.') << "] "
                << static_cast<int>(part * 100) << "% " << job << '\n';
      ++drawn_;
    }
    std::cout.flush();
  }

  const bool is_terminal_;
  std::mutex lock_;  // guards all below, and the terminal
  std::map<std::string, double> bars_;
  std::size_t drawn_ = 0;  // lines that are rubbed out before anything else
};

}  // namespace orchestra
