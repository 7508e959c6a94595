// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// How deep a value nests while it is written, and where that ends.
///
/// Layer: codec.

#include <troupe/base/error.hpp>
#include <troupe/base/worker_id.hpp>

#include <cstddef>

namespace troupe::detail {

/// What writers have in common: the levels that may still be entered.
class write_depth {
public:
  explicit write_depth(std::size_t depth) noexcept : depth_(depth) {}
  write_depth(const write_depth&) = delete;
  write_depth& operator=(const write_depth&) = delete;

  void enter() {
    if (depth_ == 0) throw error(errc::too_large, worker_id{}, "the value nests too deeply");
    --depth_;
  }
  void leave() noexcept { ++depth_; }

private:
  std::size_t depth_;
};

/// A level, of a reader or a writer, for as long as this object lives.
template <class Stream>
class nesting_level {
public:
  explicit nesting_level(Stream& stream) : stream_(stream) { stream_.enter(); }
  nesting_level(const nesting_level&) = delete;
  nesting_level& operator=(const nesting_level&) = delete;
  ~nesting_level() { stream_.leave(); }

private:
  Stream& stream_;
};

}  // namespace troupe::detail
