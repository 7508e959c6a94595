// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `to_json`: a value as JSON.
///
/// Layer: adapter.

#include <nlohmann/json.hpp>

#include <troupe/adapter/json/base64.hpp>
#include <troupe/adapter/json/json_kind.hpp>
#include <troupe/adapter/json/json_path.hpp>
#include <troupe/base/error.hpp>
#include <troupe/codec/codec.hpp>
#include <troupe/codec/encodable.hpp>
#include <troupe/codec/fields.hpp>
#include <troupe/codec/kind.hpp>
#include <troupe/codec/limits.hpp>

#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

namespace troupe {
namespace detail {

template <class T>
[[nodiscard]] nlohmann::json make_json(const json_path& at, const T& value);

template <class T>
[[nodiscard]] nlohmann::json make_json_number(const json_path& at, const T& value) {
  constexpr wire_kind kind = kind_of<T>;
  if constexpr (kind == wire_kind::byte) {
    return std::to_integer<unsigned>(value);
  } else if constexpr (kind == wire_kind::floating) {
    if (!std::isfinite(value)) at.fail("JSON has neither not-a-number nor infinity");
    return value;
  } else if constexpr (kind == wire_kind::enumeration) {
    const auto number = static_cast<enum_number<T>>(value);
    if (!is_in_range<T>(number)) at.fail("an enumeration is out of its range");
    return make_json(at, number);
  } else if constexpr (std::is_same_v<T, char>) {  // signed on some platforms only
    return static_cast<unsigned>(static_cast<unsigned char>(value));
  } else if constexpr (std::is_signed_v<T>) {
    return static_cast<std::int64_t>(value);
  } else {
    return static_cast<std::uint64_t>(value);
  }
}

template <class T>
[[nodiscard]] nlohmann::json make_json_array(const json_path& at, const T& value) {
  using element = std::remove_cv_t<typename T::value_type>;
  nlohmann::json made = nlohmann::json::array();
  for (const auto& one : value) made.push_back(make_json<element>({at, made.size()}, one));
  return made;
}

template <class T>
[[nodiscard]] nlohmann::json make_json_map(const json_path& at, const T& value) {
  constexpr bool is_object = is_json_key<typename T::key_type>();
  nlohmann::json made = is_object ? nlohmann::json::object() : nlohmann::json::array();
  for (const auto& [key, mapped] : value) {
    if constexpr (is_object) {
      made[std::string(key)] = make_json(json_path(at, key), mapped);
    } else {
      const json_path here(at, made.size());
      nlohmann::json pair = nlohmann::json::array();
      pair.push_back(make_json(json_path(here, 0), key));
      pair.push_back(make_json(json_path(here, 1), mapped));
      made.push_back(std::move(pair));
    }
  }
  return made;
}

template <class T, std::size_t... I>
[[nodiscard]] nlohmann::json make_json_record(const json_path& at, const T& value,
                                              std::index_sequence<I...>) {
  [[maybe_unused]] const auto tied = tie_fields(value);
  if constexpr (has_named_fields<T>) {
    nlohmann::json made = nlohmann::json::object();
    constexpr auto names = fields<T>::names();
    ((made[std::string(names[I])] = make_json(json_path(at, names[I]), std::get<I>(tied))), ...);
    return made;
  } else {
    nlohmann::json made = nlohmann::json::array();
    (made.push_back(make_json(json_path(at, I), std::get<I>(tied))), ...);
    return made;
  }
}

template <class T>
[[nodiscard]] nlohmann::json make_json_optional(const json_path& at, const T& value) {
  if constexpr (may_be_null<typename T::value_type>()) {
    nlohmann::json made = nlohmann::json::array();
    if (value.has_value()) made.push_back(make_json(json_path(at, 0), *value));
    return made;
  } else {
    return value.has_value() ? make_json(json_path::within(at), *value) : nlohmann::json();
  }
}

template <class T>
[[nodiscard]] nlohmann::json make_json_variant(const json_path& at, const T& value) {
  if (value.valueless_by_exception()) at.fail("a variant has no value");
  nlohmann::json made = nlohmann::json::array();
  made.push_back(value.index());
  made.push_back(
      std::visit([&](const auto& held) { return make_json(json_path(at, 1), held); }, value));
  return made;
}

template <class T>
nlohmann::json make_json(const json_path& at, const T& value) {
  constexpr wire_kind kind = kind_of<T>;
  if constexpr (std::is_same_v<T, std::monostate>) {
    return nullptr;
  } else if constexpr (kind == wire_kind::boolean) {
    return value;
  } else if constexpr (kind == wire_kind::text) {
    return std::string(reinterpret_cast<const char*>(value.data()), value.size());
  } else if constexpr (kind == wire_kind::bytes) {
    return to_base64({value.data(), value.size()});
  } else if constexpr (kind == wire_kind::map || kind == wire_kind::hash_map) {
    return make_json_map(at, value);
  } else if constexpr (kind == wire_kind::sequence || kind == wire_kind::array ||
                       kind == wire_kind::set || kind == wire_kind::hash_set) {
    return make_json_array(at, value);
  } else if constexpr (kind == wire_kind::optional) {
    return make_json_optional(at, value);
  } else if constexpr (kind == wire_kind::variant) {
    return make_json_variant(at, value);
  } else if constexpr (kind == wire_kind::record) {
    using all = std::make_index_sequence<std::tuple_size_v<decltype(tie_fields(value))>>;
    return make_json_record(at, value, all{});
  } else if constexpr (kind == wire_kind::duration) {
    return make_json(at, value.count());
  } else if constexpr (kind == wire_kind::time_point) {
    return make_json(at, value.time_since_epoch());
  } else if constexpr (kind == wire_kind::hook) {
    return make_json<typename codec<T>::wire>(json_path::within(at), codec<T>::to_wire(value));
  } else {
    return make_json_number(at, value);
  }
}

}  // namespace detail

/// The value as JSON (the table is in json.hpp). Throws `error`: of `errc::bad_message` for what
/// JSON has no words for, of `errc::too_large` above `depth`; both say where. Text is not checked
/// to be UTF-8: `dump()` of the JSON throws then.
template <class T>
[[nodiscard]] nlohmann::json to_json(const T& value, std::size_t depth = default_codec_depth) {
  if constexpr (detail::require_travels<detail::direction::encode, T>()) {
    return detail::make_json(detail::json_path(depth), value);
  }
}

}  // namespace troupe
