// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a request is answered with that has failed.
///
/// Layer: gateway.

#include <exception>

#include <troupe/base/error.hpp>
#include <troupe/gateway/response.hpp>

namespace troupe {

/// What a request is answered with after an exception: its status and text if it is an
/// `http_error`; 503 where the worker is overloaded or gone, 504 after a time-out, 502 where the
/// process that was asked is lost, 413 for what is too large for the way there; else 500. Says
/// nothing of what has happened inside.
[[nodiscard]] inline response response_to(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const http_error& e) {
    return text_response(e.status(), e.what());
  } catch (const error& e) {
    if (e.code() == errc::timed_out || e.code() == errc::expired) {
      return text_response(504, "it took too long");
    }
    if (e.code() == errc::connection_lost) return text_response(502, "the answer is lost");
    if (e.code() == errc::too_large) return text_response(413, "it is too large");
    const bool later = e.code() == errc::mailbox_full || e.code() == errc::worker_stopped ||
                       e.code() == errc::broker_gone || e.code() == errc::refused;
    return later ? text_response(503, "try again later") : text_response(500, "internal error");
  } catch (...) {
    return text_response(500, "internal error");
  }
}

}  // namespace troupe
