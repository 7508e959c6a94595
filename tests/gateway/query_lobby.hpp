// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A gateway's class for tests: who asks is said by the query, `?id=ann`.

#include <cstddef>
#include <string>

#include <troupe/gateway/request.hpp>

struct query_lobby {
  static constexpr std::size_t limit = 2;
  std::string identify(const troupe::request& asked) {
    return asked.parameter("id").value_or("nobody");
  }
};
