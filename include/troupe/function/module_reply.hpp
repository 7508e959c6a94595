// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What comes back from a module that is no value, as the exception that its caller gets.
///
/// Layer: function.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <troupe/base/error.hpp>
#include <troupe/base/worker_id.hpp>
#include <troupe/function/module_abi.hpp>
#include <troupe/function/module_error.hpp>

namespace troupe::detail {

/// `from`: who has replied.
[[noreturn]] inline void throw_reply(std::uint32_t outcome, std::uint32_t code,
                                     std::string_view text, worker_id from) {
  if (outcome == troupe_outcome_exception) {
    const std::size_t zero = text.find('\0');
    if (zero == std::string_view::npos) throw module_error(text, {});
    throw module_error(text.substr(0, zero), text.substr(zero + 1));
  }
  // A number that is none of ours says nothing of whether the method ran.
  const bool is_known = code >= 1 && code <= static_cast<std::uint32_t>(errc::result_lost);
  throw error(is_known ? static_cast<errc>(code) : errc::interrupted, std::move(from),
              std::string(text));
}

}  // namespace troupe::detail
