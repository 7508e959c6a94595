// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a request is answered with that has failed.
///
/// Layer: gateway.

#include <exception>

#include <troupe/base/error.hpp>
#include <troupe/gateway/error_status.hpp>
#include <troupe/gateway/response.hpp>

namespace troupe {

/// What a request is answered with after an exception: its status and text if it is an
/// `http_error`; by `status_of` where the library is overloaded, lost somebody or ran out of time;
/// else 500. Says nothing of what has happened inside.
[[nodiscard]] inline response response_to(const std::exception_ptr& failure) {
  int status = 500;
  try {
    std::rethrow_exception(failure);
  } catch (const http_error& e) {
    return text_response(e.status(), e.what());
  } catch (const error& e) {
    status = status_of(static_cast<errc>(e.code().value()));
  } catch (...) {
    // It is the program's own.
  }
  switch (status) {
    case 413:
      return text_response(status, "it is too large");
    case 502:
      return text_response(status, "the answer is lost");
    case 503:
      return text_response(status, "try again later");
    case 504:
      return text_response(status, "it took too long");
    default:
      return text_response(500, "internal error");
  }
}

}  // namespace troupe
