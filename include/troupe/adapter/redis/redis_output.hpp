// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `redis_output`: what is to be written to a connection, in order.
///
/// Layer: adapter. Small commands are gathered in pieces of some size, so that all that wait go out
/// in one system call; large values are shared, not copied.

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>
#include <utility>

#include <troupe/adapter/redis/redis_command.hpp>
#include <troupe/base/shared_bytes.hpp>

namespace troupe::detail {

/// Thread safety: none; it is the link's thread's own.
class redis_output {
public:
  void add(const redis_command& c) {
    c.write([this](std::string_view text) { append(text); },
            [this](const shared_bytes& bytes) { share(bytes); });
  }

  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  /// In bytes.
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  /// Puts the first pieces into `views`, at most `most`. How many there are.
  std::size_t look(std::string_view* views, std::size_t most) const noexcept {
    std::size_t count = 0;
    for (const piece& p : pieces_) {
      if (count == most) break;
      std::string_view rest = p.view();
      if (count == 0) rest.remove_prefix(done_);
      views[count++] = rest;
    }
    return count;
  }

  /// So many bytes of the first pieces have been written.
  void written(std::size_t count) noexcept {
    size_ -= count;
    done_ += count;
    while (!pieces_.empty() && done_ >= pieces_.front().view().size()) {
      done_ -= pieces_.front().view().size();
      pieces_.pop_front();
    }
  }

  void clear() noexcept {
    pieces_.clear();
    size_ = done_ = 0;
  }

private:
  static constexpr std::size_t full = 64 * 1024;  // of a piece of text

  struct piece {
    std::string text;
    shared_bytes shared;

    std::string_view view() const noexcept {
      return shared.empty() ? std::string_view(text) : shared.view();
    }
  };

  void append(std::string_view text) {
    if (text.empty()) return;
    if (pieces_.empty() || !pieces_.back().shared.empty() || pieces_.back().text.size() >= full) {
      pieces_.emplace_back();
    }
    pieces_.back().text += text;
    size_ += text.size();
  }
  void share(const shared_bytes& bytes) {
    pieces_.emplace_back().shared = bytes;
    size_ += bytes.size();
  }

  std::deque<piece> pieces_;
  std::size_t size_ = 0;
  std::size_t done_ = 0;  // so much of the first piece has been written
};

}  // namespace troupe::detail
