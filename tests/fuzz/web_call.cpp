// SPDX-License-Identifier: MIT
// Any request for a method by name: a method is called, or the answer says what is wrong with the
// request. The first line is the method of HTTP and the target, the rest is the body.

#include <troupe/adapter/web/web_methods.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe.hpp>
#include <troupe/adapter/json/json.hpp>
#include <troupe/adapter/web/http_date.hpp>
#include <troupe/adapter/web/web_files.hpp>

namespace fuzzed {

struct record {
  std::string text;
  int number = 0;
  std::optional<bool> maybe;
  std::vector<double> row;
};

struct shop {
  void nothing() {}
  int add(int a, int b) {
    return static_cast<int>(static_cast<unsigned>(a) + static_cast<unsigned>(b));
  }
  std::string text(std::string_view given) { return std::string(given); }
  record change(record r) { return r; }
  std::map<std::string, std::string> all(std::map<std::string, std::string> m) { return m; }
  std::optional<double> maybe(std::optional<double> one, bool) { return one; }
};

}  // namespace fuzzed

TROUPE_FIELDS(fuzzed::record, text, number, maybe, row)
TROUPE_METHODS(fuzzed::shop, nothing, add, text, change, all, maybe)

namespace {

struct site {
  site() {
    troupe::route_methods<fuzzed::shop>(router, "", broker, {.key_parameter = "id"});
    troupe::route_methods<fuzzed::shop>(
        router, "/named", broker, {.names = {{"add", {"a", "b"}}, {"maybe", {"one", "flag"}}}});
  }
  troupe::sim_executor executor{troupe::sim_options{.seed = 1}};
  troupe::broker broker{troupe::broker_options{.on = &executor}};
  troupe::web_router router;
};

void ask(std::string_view line, std::string_view body) {
  static site s;
  const std::size_t blank = line.find(' ');
  if (blank == std::string_view::npos) return;
  const std::string target(line.substr(blank + 1));
  if (target.find("id=") != std::string::npos) return;  // a worker for each would take all memory
  troupe::request asked(std::string(line.substr(0, blank)), target, body);
  const troupe::response said = s.broker.run(s.router.answer(std::move(asked)));
  switch (said.status) {
    case 200:
    case 204:
    case 400:
    case 404:
    case 405:
    case 413:
      return;
    case 500:  // text that is no UTF-8 is no JSON
      if (said.body.view() == "internal error") return;
      break;
    default:
      break;
  }
  std::abort();
}

/// A range that is one lies within.
void look_at_range(std::string_view text) {
  for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{10}, UINT64_MAX}) {
    troupe::detail::byte_range r;
    const auto verdict = troupe::detail::parse_range(text, size, r);
    if (verdict == troupe::detail::range_verdict::one && !(r.begin < r.end && r.end <= size)) {
      std::abort();
    }
  }
}

/// What is read as a time, and is one, is written so again: but for its day of the week.
void look_at_date(std::string_view text) {
  const auto read = troupe::detail::from_http_date(text);
  if (!read || *read < 0) return;
  if (troupe::detail::from_http_date(troupe::detail::to_http_date(*read)) != read) std::abort();
}

/// What says a reply is said so again; a NUL would end it.
void look_at_reply(std::string_view text) {
  const auto reply = troupe::thrown_reply::read(text);
  if (!reply || text.find('\0') != std::string_view::npos) return;
  const auto again = troupe::thrown_reply::read(troupe::thrown_reply(*reply).what());
  if (!again || again->http_status != reply->http_status || again->http_body != reply->http_body ||
      again->http_fields != reply->http_fields) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::size_t end = text.find('\n');
  ask(text.substr(0, end),
      end == std::string_view::npos ? std::string_view() : text.substr(end + 1));
  look_at_range(text);
  look_at_date(text);
  look_at_reply(text);
  return 0;
}
