// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// An answer whose body is read as it is sent.
///
/// Layer: adapter.

#include <cstdint>
#include <memory>
#include <utility>

#include <troupe/base/shared_bytes.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/gateway/response.hpp>

namespace troupe {

/// A body that does not lie in memory. Used by one connection, from its thread.
class web_body {
public:
  virtual ~web_body() = default;

  /// Bytes, all together.
  [[nodiscard]] virtual std::uint64_t size() const noexcept = 0;

  /// The next piece; never an empty one before all are there. Throws where there are fewer bytes
  /// than `size()`: the connection ends, since the client was told how many there are.
  [[nodiscard]] virtual task<shared_bytes> next() = 0;
};

/// What a router gives its server: a response, and maybe `pieces` instead of its body.
struct web_answer : response {
  web_answer() = default;
  web_answer(response r) : response(std::move(r)) {}
  web_answer(response r, std::shared_ptr<web_body> from)
      : response(std::move(r)), pieces(std::move(from)) {}

  std::shared_ptr<web_body> pieces;
};

}  // namespace troupe
