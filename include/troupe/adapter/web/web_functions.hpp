// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `route_module`: functions of a module by name, with JSON, over HTTP.
///
/// Layer: adapter. Needs nlohmann/json (CMake: troupe::json) and Linux. The module has included
/// <troupe/adapter/json/json.hpp> before its `TROUPE_MODULE`.
///
/// `GET <path>/<function>?a=1` calls a function with one argument, an object of the query's texts:
/// a `std::map<std::string, std::string>`, or a class with `TROUPE_FIELDS`. One without parameters
/// is called without. `POST` is as for methods (web_methods.hpp), and so are results: a `web_reply`
/// that a function gives or throws (`thrown_reply`) is the answer.

#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include <troupe/adapter/json/from_json.hpp>
#include <troupe/adapter/web/call_answer.hpp>
#include <troupe/adapter/web/call_arguments.hpp>
#include <troupe/adapter/web/method_route.hpp>
#include <troupe/adapter/web/web_reply.hpp>
#include <troupe/adapter/web/web_router.hpp>
#include <troupe/base/error.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/function.hpp>
#include <troupe/gateway/request.hpp>
#include <troupe/gateway/response.hpp>

namespace troupe {
namespace detail {

/// A call of a module's function that comes by HTTP. Of what comes back nothing is believed.
class web_function {
public:
  static task<response> answer(function_host& functions, std::shared_ptr<const method_route> route,
                               std::string module, std::string name, request asked) {
    std::exception_ptr failure;
    try {
      const std::string key = key_for(asked, *route);
      std::string payload;
      std::optional<response> refused = read(asked, *route, name, payload);
      if (refused) co_return std::move(*refused);
      function_request what;
      what.module = module;
      what.version = route->version;
      what.func = name;
      what.payload = payload_view(payload);
      what.format = payload_format::json;
      what.optional_payload = payload == "[{}]" && asked.method != "POST";
      what.key = key;
      if (route->limit != endless) what.limit = route->limit;
      auto calling = functions.trigger(what);
      co_return to_answer(co_await std::move(calling));
    } catch (const error&) {
      failure = std::current_exception();
    } catch (const module_error& e) {
      if (e.type() == "troupe::thrown_reply") {
        if (auto said = thrown(e.what())) co_return std::move(*said);
      }
      failure = std::current_exception();
    } catch (...) {
      failure = std::current_exception();
    }
    co_return response_to(failure, route->tell_exceptions);
  }

private:
  /// The arguments as JSON; or why there are none.
  static std::optional<response> read(const request& asked, const method_route& route,
                                      std::string_view name, std::string& payload) {
    try {
      const nlohmann::json given = asked.method == "POST" ? arguments_in_body(asked, route, name)
                                                          : arguments_in_query(asked, route, name);
      payload = given.dump();
      return std::nullopt;
    } catch (const error& e) {
      return refused_arguments(e);
    } catch (const nlohmann::json::exception&) {
      return text_response(400, "the arguments are no UTF-8");
    }
  }

  /// A function that gives nothing replies nothing.
  static response to_answer(shared_bytes reply) {
    if (reply.empty()) return response(204);
    const std::string_view text = reply.view();
    const bool may_be_reply = text.starts_with("{") && text.find("\"http_status\"") != text.npos;
    const auto read = may_be_reply
                          ? from_json<web_reply>(text)
                          : result<web_reply>(std::make_exception_ptr(error(errc::bad_message)));
    if (!read.has_value()) return json_response(std::move(reply));
    return to_response(*read);
  }
  /// Nothing: it is no answer.
  static std::optional<response> thrown(std::string_view said) {
    try {
      return response_thrown(said);
    } catch (...) {
      return std::nullopt;
    }
  }
  /// What ends a call of a module is about that module, whoever it has called.
  static response response_to(const std::exception_ptr& failure, bool tell) {
    try {
      std::rethrow_exception(failure);
    } catch (const error& e) {
      return response_to_error(e, e.worker());
    } catch (...) {
      return response_to_failure(failure, worker_id(), tell);
    }
  }
};

}  // namespace detail

/// Answers `GET` and `POST` of `<path>/<function>` by the functions of a module. `functions`
/// outlives the server.
inline web_router& route_module(web_router& to, std::string path, function_host& functions,
                                std::string module, method_route route = {}) {
  const auto kept = std::make_shared<const method_route>(std::move(route));
  const auto answer = [kept, module = std::move(module), &functions](
                          request asked, const web_router::parts& varying) {
    return detail::web_function::answer(functions, kept, module, varying.back(), std::move(asked));
  };
  if (!kept->by_post_alone) to.get(path + "/:function", answer);
  return to.post(path + "/:function", answer);
}

}  // namespace troupe
