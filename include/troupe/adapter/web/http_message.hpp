// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Requests and responses as Beast has them, and as gateways do.
///
/// Layer: adapter.

#include <utility>  // Boost 1.74 forgets it

#include <string>
#include <string_view>

#include <boost/beast/http/message.hpp>
#include <boost/beast/http/span_body.hpp>
#include <boost/beast/http/status.hpp>
#include <boost/beast/http/string_body.hpp>

#include <troupe/adapter/web/web_answer.hpp>
#include <troupe/gateway/request.hpp>
#include <troupe/gateway/response.hpp>

namespace troupe::detail {

namespace http = boost::beast::http;

using http_request = http::request<http::string_body>;
using http_response = http::response<http::span_body<const char>>;

inline std::string to_string(boost::beast::string_view text) {
  return std::string(text.data(), text.size());
}

/// The path and the query of a target that names a host as well, as those who take this for a proxy
/// send it (RFC 9112, 3.2.2): `http://host/path`.
inline std::string origin_form(std::string_view target) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!equal_ignoring_case(target.substr(0, scheme.size()), scheme)) continue;
    const std::size_t end = target.find_first_of("/?", scheme.size());
    if (end == std::string_view::npos) return "/";
    return (target[end] == '?' ? "/" : "") + std::string(target.substr(end));
  }
  return std::string(target);
}

/// Without its body.
inline request to_request(const http_request& from, const std::string& peer) {
  request made(to_string(from.method_string()), origin_form(to_string(from.target())));
  for (const auto& f : from) made.fields.add(to_string(f.name_string()), to_string(f.value()));
  made.peer = peer;
  return made;
}

inline bool has_body(int status) noexcept { return status != 204 && status != 304; }

/// Shows the body of `said`, which outlives it; of one in pieces only how long it is.
inline http_response to_http(const web_answer& said, const http_request& asked, bool keep_alive) {
  http_response made;
  made.version(asked.version());
  const bool is_status = said.status >= 200 && said.status <= 999;
  made.result(is_status ? static_cast<unsigned>(said.status) : 500U);
  for (const headers::field& f : said.fields) made.insert(f.name, f.value);
  made.erase(http::field::transfer_encoding);  // how it is framed is said here, and by nobody else
  made.erase(http::field::content_length);
  made.keep_alive(keep_alive);
  const std::string_view body = said.body.view();
  if (!has_body(said.status)) return made;
  if (said.pieces) {
    made.content_length(said.pieces->size());
    return made;
  }
  made.content_length(body.size());
  if (asked.method() != http::verb::head) made.body() = {body.data(), body.size()};
  return made;
}

}  // namespace troupe::detail
