// SPDX-License-Identifier: MIT
// A web server whose pages are made by modules that nobody trusts: each runs in a sandboxed process
// of its own, and has no network; what it may fetch, a trusted module fetches for it.
#include <troupe/adapter/web/web.hpp>

#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <string>
#include <string_view>
#include <utility>

#include <troupe.hpp>
#include <troupe/adapter/json/json.hpp>
#include <troupe/adapter/web/web_functions.hpp>
#include <troupe/function.hpp>

using namespace std::chrono_literals;

namespace app {

constexpr const char* untrusted[] = {"fetch_example", "hello", "test1", "test2"};

constexpr const char* links[] = {"/hello/world",     "/fetch_example",        "/test1/ok",
                                 "/test1/forbidden", "/test1/redirect",       "/test1/error",
                                 "/test1/state",     "/test1/state?set=foo",  "/test2/state",
                                 "/test1/global",    "/test1/state?id=alice", "/test1"};

std::string library_of(std::string_view module, std::string_view) {
  return std::string(TROUPE_EXAMPLE_MODULES "/") + std::string(module) + "-v1.0.0.so";
}

/// All but `fetch` is kept in processes, one for each key.
void define_modules(troupe::function_host& functions) {
  functions.define_loader(library_of);
  functions.define_module("fetch", {.kept = troupe::isolation::in_process, .limit = 10s});
  for (const char* const name : untrusted) {
    functions.define_module(
        name, {.limit = 10s, .per_key = true, .permissions = {.may_call = {"fetch"}}});
  }
}

/// Whose worker is asked for: `?id=alice`.
std::string key_in(const troupe::request& asked) {
  std::string key = asked.parameter("id").value_or("");
  if (key.size() > 64) throw troupe::http_error(400, "an id has at most 64 bytes");
  return key;
}

/// Functions of the untrusted modules: `/test1/state`.
troupe::web_router functions_by_name(troupe::function_host& functions) {
  troupe::web_router calls;
  for (const char* const name : untrusted) {
    troupe::route_module(calls, "/" + std::string(name), functions, name,
                         {.key_parameter = "id", .key = key_in});
  }
  return calls;
}

/// `/test1`: loads the module anew, with fresh state. One that has an `index` answers by that.
troupe::task<troupe::response> reload(troupe::function_host& functions,
                                      const troupe::web_router& calls, std::string name) {
  co_await functions.reload(name);
  troupe::request index("GET", "/" + name + "/index");
  troupe::response said = co_await calls.answer(std::move(index));
  if (said.status == 404) said = troupe::text_response(200, "Module reloaded");
  co_return said;
}

troupe::response front_page(const troupe::request&) {
  std::string page =
      "<!doctype html><meta charset=\"utf-8\"><title>troupe</title>"
      "<h1>Modules that nobody trusts</h1><ul>";
  for (const std::string link : links) {
    page += "<li><a href=\"" + link + "\">" + link + "</a>";
  }
  return troupe::response(200, std::move(page), "text/html; charset=utf-8");
}

troupe::web_router site_of(troupe::function_host& functions, const troupe::web_router& calls) {
  troupe::web_router site;
  site.get("/", front_page);
  const auto call = [&calls](troupe::request asked) { return calls.answer(std::move(asked)); };
  for (const char* const name : untrusted) {
    const std::string path = "/" + std::string(name);
    site.get(path, [&functions, &calls,
                    name](const troupe::request&) { return reload(functions, calls, name); })
        .on({}, path + "/:function", call);
  }
  return site;
}

/// What is out there to be fetched.
troupe::web_router elsewhere() {
  troupe::web_router all;
  all.get("/greeting", [](const troupe::request&) {
    return troupe::text_response(200, "Greetings from elsewhere");
  });
  return all;
}

/// Until a signal asks for the end.
troupe::task<> wait_for_signal() {
  const auto asked = co_await troupe::as_result(troupe::sleep_for(troupe::endless));
  static_cast<void>(asked);
}

std::uint16_t port_of(const char* text) {
  const std::string_view all(text);
  std::uint16_t port = 0;
  const auto parsed = std::from_chars(all.data(), all.data() + all.size(), port);
  if (parsed.ec != std::errc() || parsed.ptr != all.data() + all.size()) {
    std::cerr << "app: '" << text << "' is no port\n";
    std::exit(2);
  }
  return port;
}

}  // namespace app

// example_app [port]
int main(int argc, char** argv) try {
  troupe::sandbox_main(argc, argv);  // sandboxes are forked by this program, started once more
  troupe::web_options options;
  options.port = argc > 1 ? app::port_of(argv[1]) : 8000;

  troupe::web_server far_away(app::elsewhere());
  const std::string hosts = "test.local=127.0.0.1:" + std::to_string(far_away.port());
  ::setenv("APP_FETCH_HOSTS", hosts.c_str(), 1);  // modules in processes have no environment

  troupe::broker broker;
  troupe::function_host functions{broker};
  app::define_modules(functions);
  const troupe::web_router calls = app::functions_by_name(functions);
  troupe::web_server server(app::site_of(functions, calls), options);

  std::cout << "app: http://127.0.0.1:" << server.port() << "/\n"
            << "Ctrl-C ends it." << std::endl;
  broker.run_until_signal(app::wait_for_signal());
} catch (const std::exception& e) {
  std::cerr << "app: " << e.what() << '\n';
  return 1;
}
