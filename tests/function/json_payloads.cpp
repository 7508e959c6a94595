// SPDX-License-Identifier: MIT
// Payloads that come from outside, as JSON. The module has to be built with the adapter, which not
// every build has: the build says so by a macro.

#include <troupe/function.hpp>

#include <string>
#include <string_view>

#include "kit.hpp"

namespace json_payloads_tests {

#if defined(TROUPE_TEST_JSON)

using functions_kit::error_of;
using functions_kit::in_process;
using functions_kit::is;

namespace {

troupe::function_request json_call(std::string_view function, std::string_view arguments) {
  troupe::function_request r{.module = "calculator", .version = "v3.0.0", .func = function};
  r.payload = arguments;
  r.format = troupe::payload_format::json;
  return r;
}

}  // namespace

TEST_CASE("arguments and results are JSON where the module understands it") {
  troupe::broker broker({.threads = 2});
  troupe::function_host host(broker, in_process());
  functions_kit::load_from_tests(host);
  const auto call = [&](std::string_view function, std::string_view arguments) {
    const auto one = [](troupe::function_host& h,
                        troupe::function_request r) -> troupe::task<troupe::shared_bytes> {
      co_return co_await h.trigger(r);
    };
    return std::string(broker.run(one(host, json_call(function, arguments))).view());
  };
  CHECK(call("mean", "[2, 4]") == "3.0");
  CHECK(call("echo_text", R"(["Grüße ✓"])") == R"("Grüße ✓")");
  CHECK(call("echo_text", R"([""])") == R"("")");
  CHECK(call("echo_flag", "[false]") == "false");
  CHECK(call("echo_number", "[0]") == "0");
  CHECK(call("echo_maybe", "[null]") == "null");
  CHECK(call("buy", R"([["apples", [3], null]])") == R"(["apples",[3,1],null])");
  CHECK(call("nothing", "[]").empty());
  CHECK(call("nothing", "").empty());
  for (const char* bad : {"", "{", "[1]", "[1, 2, 3]", R"(["a", "b"])", "[1, 2] x"}) {
    const troupe::error e = broker.run(error_of(host.trigger(json_call("mean", bad))));
    INFO(bad);
    CHECK(is(e, troupe::errc::bad_message));
  }
}

#endif

}  // namespace json_payloads_tests
