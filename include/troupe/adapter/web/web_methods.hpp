// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `route_methods`: methods of workers by name, with JSON, over HTTP.
///
/// Layer: adapter. Needs nlohmann/json (CMake: troupe::json), and nothing of Boost.
///
/// `GET <path>/<method>?a=1&b=2` gives a method its arguments in their order, as text; one whose
/// only parameter is a map or a class with `TROUPE_FIELDS` gets the query as that. `POST
/// <path>/<method>` has them as a JSON array, or as an object: of a method with one parameter, or
/// by the names in `method_route::names`. The result comes as JSON (nothing: 204), or as it is, if
/// it is a `response` or a `web_reply`.

#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include <troupe/actor/method_traits.hpp>
#include <troupe/actor/methods.hpp>
#include <troupe/actor/proxy.hpp>
#include <troupe/actor/sendable.hpp>
#include <troupe/adapter/json/from_json.hpp>
#include <troupe/adapter/json/to_json.hpp>
#include <troupe/adapter/web/call_answer.hpp>
#include <troupe/adapter/web/call_arguments.hpp>
#include <troupe/adapter/web/method_route.hpp>
#include <troupe/adapter/web/web_reply.hpp>
#include <troupe/adapter/web/web_router.hpp>
#include <troupe/base/result.hpp>
#include <troupe/broker/broker.hpp>
#include <troupe/codec/encodable.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/gateway/request.hpp>
#include <troupe/gateway/response.hpp>

namespace troupe {
namespace detail {

template <class Parameters>
struct named_arguments;
template <class... Ps>
struct named_arguments<std::tuple<Ps...>> {
  using type = std::tuple<owned_t<Ps>...>;
};

template <class R>
inline constexpr bool is_answer =
    std::is_void_v<R> || std::is_same_v<R, response> || std::is_same_v<R, web_reply>;

/// Calls of one method that come by HTTP.
template <auto M, class A>
class web_method {
public:
  using signature = signature_of<M>;
  using packed = typename named_arguments<typename signature::parameters>::type;
  using result_type = typename signature::result;

  static_assert(decodable<packed>,
                "troupe: a parameter of a method that is reached by HTTP cannot be decoded; "
                "route_method<&class::method> chooses single methods");
  static_assert(is_answer<result_type> || encodable<result_type>,
                "troupe: the result of a method that is reached by HTTP cannot be encoded; "
                "route_method<&class::method> chooses single methods");

  static task<response> answer(broker& workers, std::shared_ptr<const method_route> route,
                               std::string_view name, request asked) {
    worker_id called;
    std::exception_ptr failure;
    try {
      const std::string key = key_for(asked, *route);  // it may refuse who asks
      result<packed> arguments = read(asked, *route, name);
      if (!arguments.has_value()) co_return why_not(arguments);
      const proxy<A> worker = workers.template worker<A>(key);
      called = worker.id();
      auto calling = call(worker, *arguments, route->limit);
      co_return co_await std::move(calling);
    } catch (...) {
      failure = std::current_exception();
    }
    co_return response_to_failure(failure, called, route->tell_exceptions);
  }

private:
  static result<packed> read(const request& asked, const method_route& route,
                             std::string_view name) {
    try {
      const nlohmann::json given = asked.method == "POST"
                                       ? arguments_in_body(asked, route, name)
                                       : arguments_in_query<packed>(asked, route, name);
      constexpr std::size_t for_each_byte = 256;
      decode_limits limits;
      limits.memory =
          (std::size_t{64} << 10) + (asked.body.size() + asked.target.size()) * for_each_byte;
      return from_json<packed>(given, limits);
    } catch (...) {
      return result<packed>(std::current_exception());
    }
  }
  static response why_not(const result<packed>& arguments) {
    try {
      std::rethrow_exception(arguments.error());
    } catch (const error& e) {
      return refused_arguments(e);
    }
  }

  static task<response> call(const proxy<A>& worker, packed& arguments, duration limit) {
    constexpr auto all = std::make_index_sequence<std::tuple_size_v<packed>>{};
    if (limit == endless) {
      auto made = make(worker, arguments, all);
      if constexpr (std::is_void_v<result_type>) {
        co_await std::move(made);
        co_return response(204);
      } else {
        co_return to_answer(co_await std::move(made));
      }
    } else {
      auto made = make(worker, arguments, all).within(limit);
      if constexpr (std::is_void_v<result_type>) {
        co_await std::move(made);
        co_return response(204);
      } else {
        co_return to_answer(co_await std::move(made));
      }
    }
  }
  template <std::size_t... I>
  static auto make(const proxy<A>& worker, [[maybe_unused]] packed& arguments,
                   std::index_sequence<I...>) {
    return worker.template call<M>(std::move(std::get<I>(arguments))...);
  }

  static response to_answer(auto value) {
    if constexpr (std::is_same_v<result_type, response>) {
      return value;
    } else if constexpr (std::is_same_v<result_type, web_reply>) {
      return to_response(std::move(value));
    } else {
      return json_response(shared_bytes(to_json(value).dump()));
    }
  }
};

/// All that are listed in `TROUPE_METHODS`, by name.
template <class A>
class web_methods {
public:
  using answer_function = task<response> (*)(broker&, std::shared_ptr<const method_route>,
                                             std::string_view, request);

  web_methods() { methods<A>::visit_all(*this); }

  /// For `methods<A>::visit_all`.
  template <auto M>
  void visit(const char* name) {
    all_.emplace(name, &web_method<M, A>::answer);
  }

  /// nullptr: there is none of that name.
  const std::pair<const std::string, answer_function>* find(std::string_view name) const {
    const auto at = all_.find(name);
    return at == all_.end() ? nullptr : &*at;
  }

private:
  std::map<std::string, answer_function, std::less<>> all_;
};

inline task<response> no_such_method_answer() { co_return text_response(404, "not found"); }

}  // namespace detail

/// Answers `GET` and `POST` of `<path>/<method>` by the methods of `A` that `TROUPE_METHODS` lists,
/// all of them. `workers` outlives the server.
template <class A>
web_router& route_methods(web_router& to, std::string path, broker& workers,
                          method_route route = {}) {
  const auto kept = std::make_shared<const method_route>(std::move(route));
  const auto listed = std::make_shared<const detail::web_methods<A>>();
  const auto answer = [kept, listed, &workers](request asked, const web_router::parts& varying) {
    const auto* const method = listed->find(varying.back());
    if (method == nullptr) return detail::no_such_method_answer();
    return method->second(workers, kept, method->first, std::move(asked));
  };
  if (!kept->by_post_alone) to.get(path + "/:method", answer);
  return to.post(path + "/:method", answer);
}

/// Answers `GET` and `POST` of `path` by one method: `route_method<&account::deposit>(site,
/// "/deposit", broker)`. Its name in `method_route::names` is the path.
template <auto M, class A = typename detail::signature_of<M>::class_type>
web_router& route_method(web_router& to, std::string path, broker& workers,
                         method_route route = {}) {
  const auto kept = std::make_shared<const method_route>(std::move(route));
  const auto name = std::make_shared<const std::string>(path);
  const auto answer = [kept, name, &workers](request asked) {
    return detail::web_method<M, A>::answer(workers, kept, *name, std::move(asked));
  };
  if (!kept->by_post_alone) to.get(path, answer);
  return to.post(path, answer);
}

}  // namespace troupe
