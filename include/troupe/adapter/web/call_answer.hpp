// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a call has come to, as the answer to a request.
///
/// Layer: adapter.

#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include <troupe/adapter/json/from_json.hpp>
#include <troupe/adapter/web/web_reply.hpp>
#include <troupe/base/error.hpp>
#include <troupe/gateway/error_status.hpp>
#include <troupe/gateway/response.hpp>

namespace troupe::detail {

/// Throws `std::invalid_argument` where a field is none.
inline response to_response(web_reply r) {
  response made(r.http_status, shared_bytes(std::move(r.http_body)));
  for (auto& [name, value] : r.http_fields) made.fields.add(std::move(name), std::move(value));
  return made;
}

/// What the call of a GET has given today it may not give tomorrow.
inline response json_response(shared_bytes text) {
  response made(200, std::move(text), "application/json");
  made.fields.set("Cache-Control", "no-store");
  return made;
}

inline response refused_arguments(const error& e) {
  return text_response(status_of(static_cast<errc>(e.code().value())), e.detail());
}

/// An error of the library, about `called` or somebody that it has called in turn. What is wrong
/// with the latter's arguments is not the client's fault.
inline response response_to_error(const error& e, const worker_id& called) {
  if (e.code() == errc::refused && e.worker() == called) {
    try {
      std::rethrow_if_nested(e);
    } catch (const http_error& cause) {
      return text_response(cause.status(), cause.what());
    } catch (...) {
      // Why it was refused is not the client's business.
    }
  }
  int status = 500;
  if (e.code().category() == error_category()) {
    status = status_of(static_cast<errc>(e.code().value()));
  }
  if (status < 500 && !(e.worker() == called)) status = 500;
  if (status == 500) return text_response(500, "internal error");
  return text_response(status, e.code().message());
}

inline std::optional<response> response_thrown(std::string_view said) {
  std::optional<web_reply> r = thrown_reply::read(said);
  if (!r) return std::nullopt;
  return to_response(std::move(*r));
}

/// What a method of `called` has thrown, or came instead of it.
inline response response_to_failure(const std::exception_ptr& failure, const worker_id& called,
                                    bool tell) {
  try {
    std::rethrow_exception(failure);
  } catch (const http_error& e) {
    return text_response(e.status(), e.what());
  } catch (const thrown_reply& e) {
    auto said = response_thrown(e.what());
    return said ? std::move(*said) : text_response(500, "internal error");
  } catch (const error& e) {
    return response_to_error(e, called);
  } catch (const std::exception& e) {
    return text_response(500, tell ? std::string_view(e.what()) : "internal error");
  } catch (...) {
    return text_response(500, "internal error");
  }
}

}  // namespace troupe::detail
