// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The choices of one execution: made by depth-first search, at random, or as they were made
/// before.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::model {

/// The first alternative is always the quiet one: no switch, the newest store. So an execution is
/// described by few numbers, and what is missing at the end of a description is zero.
class choices {
public:
  enum class source { search, random, script };

  void search() noexcept { begin(source::search); }
  void draw(std::uint64_t seed) noexcept;
  void follow(std::string_view script);

  source from() const noexcept { return source_; }

  /// One of `count` alternatives; a search tries only the first `allowed`.
  unsigned choose(unsigned count, unsigned allowed);
  /// The same, made by the caller.
  void note(unsigned chosen);

  std::uint64_t random() noexcept;

  /// Before each execution.
  void rewind() noexcept { at_ = 0; }

  /// After an execution of a search: prepares the next; false if there is none.
  bool advance() noexcept;

  /// The choices of the last execution, as `follow` reads them.
  std::string text() const;

private:
  struct point {
    std::uint8_t chosen;
    std::uint8_t allowed;
  };

  void begin(source s) noexcept {
    source_ = s;
    points_.clear();
    at_ = 0;
  }

  source source_ = source::search;
  std::vector<point> points_;
  std::size_t at_ = 0;
  std::uint64_t state_ = 0;
};

}  // namespace troupe::model
