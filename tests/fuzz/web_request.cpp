// SPDX-License-Identifier: MIT
// Any bytes as an HTTP request: refused by the parser, or an answer with a status that is meant, in
// which nothing of the request ends a header field early; and no place in a gateway stays taken.

#include <troupe/adapter/web/web.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>

#include <boost/beast/http.hpp>

#include <troupe.hpp>
#include <troupe/gateway.hpp>

namespace {

namespace http = boost::beast::http;

void demand(bool holds) {
  if (!holds) std::abort();
}

struct lobby {
  static constexpr std::size_t limit = 2;
  std::optional<std::string> identify(const troupe::request& asked) {
    return asked.parameter("id");
  }
};

struct room {
  troupe::response receive(const troupe::request& asked) {
    if (asked.wants_socket()) return asked.connect();
    troupe::response said(200, asked.body);
    said.fields.set("X-Path", std::string(asked.path()));
    return said;
  }
};

/// What answers stays from one input to the next, as in a server.
struct site {
  site() {
    router
        .get("/go/:where/*",
             [](const troupe::request& asked, const troupe::web_router::parts& p) {
               demand(p.size() == 2);
               troupe::response said(302);
               said.fields.set("Location", p.front());  // throws where it could end early
               said.fields.set("X-Rest", p.back());
               for (const auto& f : asked.fields) said.fields.add("X-" + f.name, f.value);
               return said;
             })
        .post("/echo",
              [](const troupe::request& asked) { return troupe::response(200, asked.body); })
        .on("", "/show", [](const troupe::request& asked) {
          std::string all;
          troupe::for_each_parameter(
              asked.query(),
              [&](const std::string& n, const std::string& v) { all += n + '=' + v + '\n'; });
          return troupe::text_response(200, all);
        });
    router.to("/rooms/:name", rooms);
  }

  void run(troupe::task<> t) { sim.run(std::move(t)); }

  troupe::sim_executor sim{
      troupe::sim_options{.seed = 1}};  // so that each input does the same again
  troupe::broker broker{troupe::broker_options{.on = &sim}};
  troupe::gateway<lobby, room> rooms{
      broker, troupe::gateway_options{.retire_after = std::chrono::milliseconds(1)}};
  troupe::web_router router;
};

site& the_site() {
  static site s;
  return s;
}

void check_target(const troupe::request& asked) {
  std::string whole(asked.path());
  if (asked.target.find('?') != std::string::npos) whole += '?' + std::string(asked.query());
  demand(whole == asked.target);

  const std::string plain = troupe::percent_decode(asked.path());
  demand(plain.size() <= asked.path().size());
  std::string coded;
  constexpr char digits[] = "0123456789aBcDeF";
  for (const char c : plain) {
    const auto byte = static_cast<unsigned char>(c);
    coded += {'%', digits[byte / 16], digits[byte % 16]};
  }
  demand(troupe::percent_decode(coded) == plain);
  demand(troupe::is_utf8(troupe::to_utf8(plain)));
  demand(!troupe::is_utf8(plain) || troupe::to_utf8(plain) == plain);

  troupe::for_each_parameter(asked.query(), [&](const std::string& name, const std::string&) {
    demand(asked.parameter(name).has_value());
  });
}

void check_fields(const troupe::request& asked) {
  for (const auto& f : asked.fields) {
    demand(asked.fields.contains(f.name));
    demand(std::none_of(f.value.begin(), f.value.end(), troupe::detail::is_control_char));
  }
  const int status = asked.connect().status;
  demand(status == 101 || status == 400 || status == 405 || status == 426);
  demand(status != 101 || (asked.method == "GET" && asked.wants_socket()));
}

/// What is sent is one answer, with the fields that it was given and no others.
template <class Answer>
void check_answer(const Answer& said, const http::request<http::string_body>& asked) {
  const auto made = troupe::detail::to_http(said, asked, true);
  std::ostringstream sent;
  sent << made;
  const std::string text = sent.str();
  http::response_parser<http::string_body> parser;
  parser.eager(true);
  parser.skip(asked.method() == http::verb::head);
  boost::system::error_code wrong;
  const std::size_t read = parser.put(boost::asio::buffer(text), wrong);
  demand(!wrong && parser.is_done() && read == text.size());
  const auto heard = parser.release();
  demand(heard.result_int() == made.result_int());
  std::size_t sent_fields = 0;
  for (const auto& f : made.base()) {
    ++sent_fields;
    demand(f.value().find_first_of("\r\n") == boost::beast::string_view::npos);
  }
  std::size_t heard_fields = 0;
  for (const auto& f : heard.base()) {
    static_cast<void>(f);
    ++heard_fields;
  }
  demand(sent_fields == heard_fields);
}

troupe::task<> answer(troupe::request made, const http::request<http::string_body>& asked) {
  site& s = the_site();
  const bool is_upgrade = made.connect().status == 101;
  {
    const auto said = co_await s.router.answer(std::move(made));
    constexpr int meant[] = {101, 200, 302, 400, 404, 405, 426, 500, 503};
    demand(std::find(std::begin(meant), std::end(meant), said.status) != std::end(meant));
    demand((said.session != nullptr) == (said.status == 101));
    demand(said.status != 101 || is_upgrade);
    if (said.status != 101) check_answer(said, asked);
  }
  // Whoever was there has gone, and with it all that was made for it.
  co_await troupe::sleep_for(std::chrono::seconds(1));
  demand(s.rooms.clusters().empty());
  demand(s.broker.worker_count() == 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  http::request_parser<http::string_body> parser;
  parser.eager(true);
  parser.header_limit(4096);
  parser.body_limit(4096);
  boost::system::error_code wrong;
  std::size_t read = 0;
  // As a connection does: what the parser leaves, it gets again.
  while (read < size && !wrong && !parser.is_done()) {
    const std::size_t taken = parser.put(boost::asio::buffer(data + read, size - read), wrong);
    if (taken == 0 && !wrong) return 0;
    read += taken;
  }
  if (wrong || !parser.is_done()) return 0;
  http::request<http::string_body> asked = parser.release();

  troupe::request made = troupe::detail::to_request(asked, "127.0.0.1:1");
  check_target(made);
  check_fields(made);
  the_site().run(answer(std::move(made), asked));
  return 0;
}
