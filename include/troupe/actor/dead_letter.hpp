// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `dead_letter`: what became of messages that nobody waits for.
///
/// Layer: actor.

#include <exception>
#include <string_view>
#include <system_error>
#include <utility>

#include <troupe/actor/caller.hpp>
#include <troupe/base/worker_id.hpp>

namespace troupe {

/// A message that was not run, or failed, with nobody to tell: a tell, a timer's turn, a spawned
/// task, a hook, a call whose caller has gone on. Never its contents.
struct dead_letter {
  dead_letter(worker_id t, std::string_view m, std::error_code r, std::exception_ptr e, caller f)
      : to(std::move(t)), method(m), reason(r), error(std::move(e)), from(std::move(f)) {}

  worker_id to;              ///< Whom it was for.
  std::string_view method;   ///< What it was to run; valid during the report.
  std::error_code reason;    ///< Why it was not run; no error: it ran, and threw.
  std::exception_ptr error;  ///< What it threw, or the reason as an exception.
  caller from;               ///< Which worker sent it, if one did.
};

}  // namespace troupe
