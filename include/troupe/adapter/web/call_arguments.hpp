// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The arguments in a request, as a JSON array.
///
/// Layer: adapter. Where parameters are known their types decide how the text of a query is read.

#include <cstddef>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <troupe/adapter/json/json_kind.hpp>
#include <troupe/adapter/json/parse_json.hpp>
#include <troupe/adapter/web/method_route.hpp>
#include <troupe/base/error.hpp>
#include <troupe/codec/fields.hpp>
#include <troupe/codec/kind.hpp>
#include <troupe/codec/limits.hpp>
#include <troupe/gateway/request.hpp>
#include <troupe/gateway/url.hpp>
#include <troupe/gateway/utf8.hpp>

namespace troupe::detail {

[[noreturn]] inline void fail_arguments(std::string what) {
  throw error(errc::bad_message, worker_id(), std::move(what));
}

using query_values = std::vector<std::pair<std::string, std::string>>;

/// The parameters of the query, decoded, but for the one that names the key.
inline query_values query_of(const request& asked, const method_route& route) {
  query_values all;
  for_each_parameter(asked.query(), [&](std::string name, std::string value) {
    if (!is_utf8(name) || !is_utf8(value)) fail_arguments("the query is no UTF-8");
    const bool is_key = !route.key_parameter.empty() && name == route.key_parameter;
    if (!is_key) all.emplace_back(std::move(name), std::move(value));
  });
  return all;
}

/// Which worker is meant.
inline std::string key_for(const request& asked, const method_route& route) {
  if (route.key) return route.key(asked);
  if (route.key_parameter.empty()) return {};
  return asked.parameter(route.key_parameter).value_or(std::string());
}

/// A name of a stranger's, in a text for him.
inline std::string in_quotes(std::string_view name) {
  constexpr std::size_t enough = 64;
  return "'" + std::string(name.substr(0, enough)) + "'";
}

// --- by types
// -------------------------------------------------------------------------------------

/// Whether JSON has an object for it.
template <class T>
consteval bool is_object_of_json() {
  if constexpr (kind_of<T> == wire_kind::hook) {
    return is_object_of_json<typename codec<T>::wire>();
  } else if constexpr (kind_of<T> == wire_kind::map || kind_of<T> == wire_kind::hash_map) {
    return is_json_key<typename T::key_type>();
  } else {
    return kind_of<T> == wire_kind::record && has_named_fields<T>;
  }
}

/// Text is itself, and everything else is written as in JSON.
template <class T>
nlohmann::json json_of_text(std::string_view name, std::string text) {
  constexpr wire_kind kind = kind_of<T>;
  if constexpr (kind == wire_kind::text || kind == wire_kind::bytes) {
    return text;
  } else if constexpr (kind == wire_kind::hook) {
    return json_of_text<typename codec<T>::wire>(name, std::move(text));
  } else if constexpr (kind == wire_kind::optional) {
    if constexpr (may_be_null<typename T::value_type>()) {
      return parse_json(text, {});
    } else {
      return json_of_text<typename T::value_type>(name, std::move(text));
    }
  } else {
    try {
      return parse_json(text, {});
    } catch (const error&) {
      fail_arguments(in_quotes(name) + " is not what it should be: text stands only for text");
    }
  }
}

template <class T, std::size_t... I>
bool take_field(nlohmann::json& into, const std::string& name, std::string& text,
                std::index_sequence<I...>) {
  using tied = decltype(tie_fields(std::declval<T&>()));
  constexpr auto names = fields<T>::names();
  return ((name == names[I] &&
           (into[name] = json_of_text<std::remove_cvref_t<std::tuple_element_t<I, tied>>>(
                name, std::move(text)),
            true)) ||
          ...);
}

/// All of a query as one object.
template <class T>
nlohmann::json object_of_query(query_values all) {
  if constexpr (kind_of<T> == wire_kind::hook) {
    return object_of_query<typename codec<T>::wire>(std::move(all));
  } else {
    nlohmann::json made = nlohmann::json::object();
    for (auto& [name, text] : all) {
      if (made.contains(name)) fail_arguments(in_quotes(name) + " is there twice");
      if constexpr (kind_of<T> == wire_kind::record) {
        using tied = decltype(tie_fields(std::declval<T&>()));
        const bool is_known =
            take_field<T>(made, name, text, std::make_index_sequence<std::tuple_size_v<tied>>{});
        if (!is_known) fail_arguments("there is no parameter " + in_quotes(name));
      } else {
        made[name] = json_of_text<typename T::mapped_type>(name, std::move(text));
      }
    }
    return made;
  }
}

template <class Packed, std::size_t... I>
nlohmann::json json_at([[maybe_unused]] std::size_t index, [[maybe_unused]] std::string_view name,
                       [[maybe_unused]] std::string& text, std::index_sequence<I...>) {
  nlohmann::json made;
  static_cast<void>(
      ((index == I &&
        (made = json_of_text<std::tuple_element_t<I, Packed>>(name, std::move(text)), true)) ||
       ...));
  return made;
}

// --- by place or by name
// --------------------------------------------------------------------------

inline const std::vector<std::string>* parameter_names(const method_route& route,
                                                       std::string_view function) {
  const auto at = route.names.find(function);
  return at == route.names.end() ? nullptr : &at->second;
}

inline std::size_t place_of(const std::vector<std::string>& names, std::string_view name) {
  for (std::size_t i = 0; i != names.size(); ++i) {
    if (names[i] == name) return i;
  }
  fail_arguments("there is no parameter " + in_quotes(name));
}

/// What is not given is `null`, which an optional parameter understands.
inline nlohmann::json nothing_given(const std::vector<std::string>& names) {
  return nlohmann::json(std::vector<nlohmann::json>(names.size()));
}

/// An object with the arguments by name, as an array of them by place.
inline nlohmann::json by_place(nlohmann::json object, const std::vector<std::string>& names) {
  nlohmann::json made = nothing_given(names);
  for (auto& [name, value] : object.items()) made[place_of(names, name)] = std::move(value);
  return made;
}

/// The values of a query as an array: by name where names are known, else in their order. `read` is
/// called with the place, the name and the text.
template <class Read>
nlohmann::json array_of_query(query_values all, const std::vector<std::string>* names, Read read) {
  nlohmann::json made = names != nullptr ? nothing_given(*names) : nlohmann::json::array();
  std::vector<bool> is_given(names != nullptr ? names->size() : 0);
  for (auto& [name, text] : all) {
    const std::size_t place = names != nullptr ? place_of(*names, name) : made.size();
    if (names == nullptr) {
      made.push_back(read(place, name, text));
      continue;
    }
    if (is_given[place]) fail_arguments(in_quotes(name) + " is there twice");
    is_given[place] = true;
    made[place] = read(place, name, text);
  }
  return made;
}

// --- of requests
// ----------------------------------------------------------------------------------

/// The body: an array is the arguments, an object is them by name, or else the only one.
inline nlohmann::json arguments_in_body(const request& asked, const method_route& route,
                                        std::string_view function) {
  if (asked.body.empty()) return nlohmann::json::array();
  nlohmann::json given = parse_json(asked.body.view(), {});
  if (given.is_array()) return given;
  if (!given.is_object()) fail_arguments("the body is neither an array of arguments nor an object");
  if (const auto* const names = parameter_names(route, function))
    return by_place(std::move(given), *names);
  nlohmann::json made = nlohmann::json::array();
  made.push_back(std::move(given));
  return made;
}

/// The query, for a method with these parameters: all of it, where the only one is an object, else
/// a value for each.
template <class Packed>
nlohmann::json arguments_in_query(const request& asked, const method_route& route,
                                  std::string_view function) {
  constexpr std::size_t arity = std::tuple_size_v<Packed>;
  query_values all = query_of(asked, route);
  if constexpr (arity == 1) {
    using only = std::tuple_element_t<0, Packed>;
    if constexpr (is_object_of_json<only>()) {
      nlohmann::json made = nlohmann::json::array();
      made.push_back(object_of_query<only>(std::move(all)));
      return made;
    }
  }
  return array_of_query(std::move(all), parameter_names(route, function),
                        [](std::size_t place, std::string_view name, std::string& text) {
                          return json_at<Packed>(place, name, text,
                                                 std::make_index_sequence<arity>{});
                        });
}

/// The query, for a function whose parameters are not known here: with names, values by place, each
/// a number, `true`, `false` or `null` if it reads as one, and a text else; without, one object of
/// texts.
inline nlohmann::json arguments_in_query(const request& asked, const method_route& route,
                                         std::string_view function) {
  query_values all = query_of(asked, route);
  if (const auto* const names = parameter_names(route, function)) {
    return array_of_query(
        std::move(all), names, [](std::size_t, std::string_view, std::string& text) {
          nlohmann::json read = nlohmann::json::parse(text, nullptr, false);
          const bool is_literal = !read.is_discarded() && !read.is_structured();
          return is_literal && !read.is_string() ? read : nlohmann::json(std::move(text));
        });
  }
  nlohmann::json only = nlohmann::json::object();
  for (auto& [name, text] : all) {
    if (only.contains(name)) fail_arguments(in_quotes(name) + " is there twice");
    only[name] = std::move(text);
  }
  nlohmann::json made = nlohmann::json::array();
  made.push_back(std::move(only));
  return made;
}

}  // namespace troupe::detail
