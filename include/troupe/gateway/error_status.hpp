// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The status of an answer where a call has failed.
///
/// Layer: gateway. The one table; docs/web.md shows it.

#include <troupe/base/error.hpp>

namespace troupe {

/// What a client is told where the library has ended a call of its own making with this error.
[[nodiscard]] constexpr int status_of(errc code) noexcept {
  switch (code) {
    case errc::bad_message:
      return 400;
    case errc::no_such_method:
    case errc::no_such_module:
      return 404;
    case errc::too_large:
      return 413;
    case errc::worker_crashed:
    case errc::connection_lost:
    case errc::network_reset:
      return 502;
    case errc::mailbox_full:
    case errc::refused:
    case errc::worker_stopped:
    case errc::start_failed:
    case errc::broker_gone:
    case errc::cancelled:
    case errc::interrupted:
      return 503;
    case errc::expired:
    case errc::timed_out:
    case errc::worker_stalled:
      return 504;
    case errc::deadlock:
    case errc::too_deep:
    case errc::would_block:
    case errc::result_lost:
      return 500;
  }
  return 500;
}

}  // namespace troupe
