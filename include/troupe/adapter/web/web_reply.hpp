// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `web_reply`: what a method answers that is more than a value: a status, fields, a body.
///
/// Layer: adapter. For actors, and for modules too, whose results travel as JSON: needs the codec
/// only.

#include <charconv>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <troupe/codec/fields.hpp>
#include <troupe/gateway/headers.hpp>

namespace troupe {

/// A result that is an answer of HTTP. The names of its fields are how it is known again where it
/// comes from a module.
struct web_reply {
  int http_status = 200;
  std::vector<std::pair<std::string, std::string>> http_fields;
  std::string http_body;

  /// A text that anybody can read.
  [[nodiscard]] static web_reply text(int status, std::string body) {
    web_reply made;
    made.http_status = status;
    made.http_fields.emplace_back("Content-Type", "text/plain; charset=utf-8");
    made.http_body = std::move(body);
    return made;
  }
  /// The client is to look elsewhere.
  [[nodiscard]] static web_reply redirect(std::string to, int status = 302) {
    web_reply made;
    made.http_status = status;
    made.http_fields.emplace_back("Location", std::move(to));
    return made;
  }
};

/// Thrown by a method: the request is answered with this. Crosses from a module to its host by what
/// it says, which is text: a NUL ends it.
///
/// Copying does not throw.
class thrown_reply : public std::exception {
public:
  /// Throws `std::invalid_argument` for a header field that may not be sent.
  explicit thrown_reply(const web_reply& r)
      : text_(std::make_shared<const std::string>(write(r))) {}

  [[nodiscard]] const char* what() const noexcept override { return text_->c_str(); }

  /// The reply in what was said; nothing: it says no such thing.
  [[nodiscard]] static std::optional<web_reply> read(std::string_view said) {
    web_reply r;
    const auto number = std::from_chars(said.data(), said.data() + said.size(), r.http_status);
    if (number.ec != std::errc()) return std::nullopt;
    said.remove_prefix(static_cast<std::size_t>(number.ptr - said.data()));
    for (;;) {
      if (!said.starts_with('\n')) return std::nullopt;
      const std::size_t end = said.find('\n', 1);
      if (end == std::string_view::npos) return std::nullopt;
      const std::string_view line = said.substr(1, end - 1);
      said.remove_prefix(end);
      if (line.empty()) break;
      const std::size_t colon = line.find(':');
      if (colon == std::string_view::npos) return std::nullopt;
      r.http_fields.emplace_back(line.substr(0, colon), line.substr(colon + 1));
    }
    r.http_body = said.substr(1);
    return r;
  }

private:
  /// The status, a line for each field, an empty one, the body.
  static std::string write(const web_reply& r) {
    std::string text = std::to_string(r.http_status);
    headers checked;  // a line break in one would begin another
    for (const auto& [name, value] : r.http_fields) {
      checked.add(name, value);
      text += '\n' + name + ':' + value;
    }
    return text + "\n\n" + r.http_body;
  }

  std::shared_ptr<const std::string> text_;
};

}  // namespace troupe

TROUPE_FIELDS(troupe::web_reply, http_status, http_fields, http_body)
