// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `from_json`: the value in JSON, which may be anybody's work.
///
/// Layer: adapter.

#include <nlohmann/json.hpp>

#include <troupe/adapter/json/base64.hpp>
#include <troupe/adapter/json/json_kind.hpp>
#include <troupe/adapter/json/json_path.hpp>
#include <troupe/adapter/json/parse_json.hpp>
#include <troupe/base/result.hpp>
#include <troupe/codec/codec.hpp>
#include <troupe/codec/encodable.hpp>
#include <troupe/codec/fields.hpp>
#include <troupe/codec/kind.hpp>
#include <troupe/codec/limits.hpp>
#include <troupe/codec/memory_budget.hpp>

#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

namespace troupe {
namespace detail {

template <class T>
void take_json(const json_path& at, const nlohmann::json& from, T& value);

// -- Kinds of JSON -------------------------------------------------------------------------------

inline const nlohmann::json& expect_array(const json_path& at, const nlohmann::json& from) {
  if (!from.is_array()) at.fail("it is not an array");
  return from;
}

inline void expect_array_of(const json_path& at, const nlohmann::json& from, std::size_t size) {
  if (expect_array(at, from).size() != size) {
    at.fail("it is not an array of " + std::to_string(size));
  }
}

inline const std::string& expect_string(const json_path& at, const nlohmann::json& from) {
  if (!from.is_string()) at.fail("it is not a string");
  return from.get_ref<const std::string&>();
}

// -- Numbers -------------------------------------------------------------------------------------

template <class T>
void take_json_integer(const json_path& at, const nlohmann::json& from, T& value) {
  if (!from.is_number_integer()) at.fail("it is not an integer");
  const auto narrow = [&](auto wide) {
    const auto narrowed = static_cast<T>(wide);
    const bool keeps_sign = (wide < 0) == (narrowed < 0);
    if (!keeps_sign || static_cast<decltype(wide)>(narrowed) != wide) {
      at.fail("the number is out of range");
    }
    value = narrowed;
  };
  if (from.is_number_unsigned()) {
    narrow(from.get<std::uint64_t>());
  } else {
    narrow(from.get<std::int64_t>());
  }
}

template <class T>
void take_json_floating(const json_path& at, const nlohmann::json& from, T& value) {
  if (!from.is_number()) at.fail("it is not a number");
  const auto wide = from.get<double>();
  // Compared with the bounds of `T` before it is converted: beyond them that would be undefined.
  if (!(std::fabs(wide) <= static_cast<double>((std::numeric_limits<T>::max)()))) {
    at.fail("the number is out of range");
  }
  value = static_cast<T>(wide);
}

template <class T>
void take_json_number(const json_path& at, const nlohmann::json& from, T& value) {
  constexpr wire_kind kind = kind_of<T>;
  if constexpr (kind == wire_kind::byte) {
    std::uint8_t number = 0;
    take_json_integer(at, from, number);
    value = std::byte{number};
  } else if constexpr (kind == wire_kind::enumeration) {
    enum_number<T> number{};
    take_json(at, from, number);
    if (!is_in_range<T>(number)) at.fail("the enumeration is out of its range");
    value = static_cast<T>(number);
  } else if constexpr (kind == wire_kind::floating) {
    take_json_floating(at, from, value);
  } else if constexpr (std::is_same_v<T, char>) {  // signed on some platforms only
    unsigned char code = 0;
    take_json_integer(at, from, code);
    value = static_cast<char>(code);
  } else {
    take_json_integer(at, from, value);
  }
}

// -- Text and bytes ------------------------------------------------------------------------------

template <class T>
void take_json_text(const json_path& at, const nlohmann::json& from, T& value) {
  const std::string& text = expect_string(at, from);
  value.assign(reinterpret_cast<const typename T::value_type*>(text.data()), text.size());
}

template <class T>
void take_json_bytes(const json_path& at, const nlohmann::json& from, T& value) {
  auto bytes = from_base64(expect_string(at, from));
  if (!bytes) at.fail("it is not base64");
  if constexpr (std::is_same_v<T, shared_bytes>) {
    value = shared_bytes(std::move(*bytes));
  } else {
    value.assign(bytes->begin(), bytes->end());
  }
}

// -- Containers ----------------------------------------------------------------------------------

template <class T>
void take_json_sequence(const json_path& at, const nlohmann::json& from, T& value) {
  value.clear();
  at.take_elements<T>(expect_array(at, from).size());
  if constexpr (requires { value.reserve(from.size()); }) value.reserve(from.size());
  for (std::size_t i = 0; i != from.size(); ++i) {
    typename T::value_type one{};
    take_json(json_path(at, i), from[i], one);
    value.push_back(std::move(one));
  }
}

template <class T>
void take_json_fixed(const json_path& at, const nlohmann::json& from, T& value) {
  expect_array_of(at, from, value.size());
  for (std::size_t i = 0; i != value.size(); ++i) take_json(json_path(at, i), from[i], value[i]);
}

template <class T>
void take_json_set(const json_path& at, const nlohmann::json& from, T& value) {
  value.clear();
  at.take_elements<T>(expect_array(at, from).size());
  for (std::size_t i = 0; i != from.size(); ++i) {
    const json_path here(at, i);
    typename T::value_type one{};
    take_json(here, from[i], one);
    if (!value.insert(std::move(one)).second) here.fail("it is there twice");
  }
}

template <class T>
void take_json_object_map(const json_path& at, const nlohmann::json& from, T& value) {
  if (!from.is_object()) at.fail("it is not an object");
  at.take_elements<T>(from.size());
  for (const auto& [name, mapped] : from.items()) {
    const json_path here(at, name);
    typename T::key_type key(name.data(), name.size());
    const auto [place, is_new] = value.try_emplace(std::move(key));
    if (!is_new) here.fail("it equals another key of the map");
    take_json(here, mapped, place->second);
  }
}

template <class T>
void take_json_pair_map(const json_path& at, const nlohmann::json& from, T& value) {
  at.take_elements<T>(expect_array(at, from).size());
  for (std::size_t i = 0; i != from.size(); ++i) {
    const json_path here(at, i);
    expect_array_of(here, from[i], 2);
    typename T::key_type key{};
    take_json(json_path(here, 0), from[i][0], key);
    const auto [place, is_new] = value.try_emplace(std::move(key));
    if (!is_new) here.fail("the key is there twice");
    take_json(json_path(here, 1), from[i][1], place->second);
  }
}

template <class T>
void take_json_map(const json_path& at, const nlohmann::json& from, T& value) {
  value.clear();
  if constexpr (is_json_key<typename T::key_type>()) {
    take_json_object_map(at, from, value);
  } else {
    take_json_pair_map(at, from, value);
  }
}

// -- Choices, records, hooks ---------------------------------------------------------------------

template <class T>
void take_json_optional(const json_path& at, const nlohmann::json& from, T& value) {
  value.reset();
  if constexpr (may_be_null<typename T::value_type>()) {
    if (expect_array(at, from).empty()) return;
    expect_array_of(at, from, 1);
    take_json(json_path(at, 0), from[0], value.emplace());
  } else if (!from.is_null()) {
    take_json(json_path::within(at), from, value.emplace());
  }
}

template <class T, std::size_t... I>
void take_json_variant(const json_path& at, const nlohmann::json& from, T& value,
                       std::index_sequence<I...>) {
  expect_array_of(at, from, 2);
  std::size_t index = 0;
  take_json_integer(json_path(at, 0), from[0], index);
  const bool is_one =
      ((index == I && (take_json(json_path(at, 1), from[1], value.template emplace<I>()), true)) ||
       ...);
  if (!is_one) json_path(at, 0).fail("there is no such alternative");
}

/// Counts the names that were found, to notice those that are unknown.
template <class Field>
std::size_t take_json_field(const json_path& at, const nlohmann::json& from, std::string_view name,
                            Field& field) {
  const auto found = from.find(name);
  if (found != from.end()) {
    take_json(json_path(at, name), *found, field);
    return 1;
  }
  if constexpr (kind_of<Field> == wire_kind::optional) {
    field.reset();
    return 0;
  } else {
    json_path(at, name).fail("it is missing");
  }
}

template <class T, std::size_t... I>
void take_json_object(const json_path& at, const nlohmann::json& from, T& value,
                      std::index_sequence<I...>) {
  if (!from.is_object()) at.fail("it is not an object");
  static constexpr auto names = fields<T>::names();
  const auto tied = tie_fields(value);
  const std::size_t known =
      (std::size_t{0} + ... + take_json_field(at, from, names[I], std::get<I>(tied)));
  if (known == from.size()) return;
  for (const auto& [name, unknown] : from.items()) {
    const bool is_known = ((name == names[I]) || ...);
    if (!is_known) json_path(at, name).fail("there is no such field");
  }
}

template <class T, std::size_t... I>
void take_json_record(const json_path& at, const nlohmann::json& from, T& value,
                      std::index_sequence<I...> all) {
  if constexpr (has_named_fields<T>) {
    take_json_object(at, from, value, all);
  } else {
    expect_array_of(at, from, sizeof...(I));
    [[maybe_unused]] const auto tied = tie_fields(value);
    (take_json(json_path(at, I), from[I], std::get<I>(tied)), ...);
  }
}

template <class T>
void take_json_hook(const json_path& at, const nlohmann::json& from, T& value) {
  typename codec<T>::wire as_wire{};
  take_json(json_path::within(at), from, as_wire);
  value = codec<T>::from_wire(std::move(as_wire));
}

template <class T>
void take_json(const json_path& at, const nlohmann::json& from, T& value) {
  constexpr wire_kind kind = kind_of<T>;
  if constexpr (std::is_same_v<T, std::monostate>) {
    if (!from.is_null()) at.fail("it is not null");
  } else if constexpr (kind == wire_kind::boolean) {
    if (!from.is_boolean()) at.fail("it is neither true nor false");
    value = from.get<bool>();
  } else if constexpr (kind == wire_kind::text) {
    take_json_text(at, from, value);
  } else if constexpr (kind == wire_kind::bytes) {
    take_json_bytes(at, from, value);
  } else if constexpr (kind == wire_kind::map || kind == wire_kind::hash_map) {
    take_json_map(at, from, value);
  } else if constexpr (kind == wire_kind::set || kind == wire_kind::hash_set) {
    take_json_set(at, from, value);
  } else if constexpr (kind == wire_kind::sequence) {
    take_json_sequence(at, from, value);
  } else if constexpr (kind == wire_kind::array) {
    take_json_fixed(at, from, value);
  } else if constexpr (kind == wire_kind::optional) {
    take_json_optional(at, from, value);
  } else if constexpr (kind == wire_kind::variant) {
    take_json_variant(at, from, value, std::make_index_sequence<std::variant_size_v<T>>{});
  } else if constexpr (kind == wire_kind::record) {
    using all = std::make_index_sequence<std::tuple_size_v<decltype(tie_fields(value))>>;
    take_json_record(at, from, value, all{});
  } else if constexpr (kind == wire_kind::duration) {
    typename T::rep ticks{};
    take_json(at, from, ticks);
    value = T(ticks);
  } else if constexpr (kind == wire_kind::time_point) {
    typename T::duration since{};
    take_json(at, from, since);
    value = T(since);
  } else if constexpr (kind == wire_kind::hook) {
    take_json_hook(at, from, value);
  } else {
    take_json_number(at, from, value);
  }
}

}  // namespace detail

/// The value in `json`; or an `error` of `errc::bad_message`, whose text names the place, or of
/// `errc::too_large`, if it exceeds a limit. What `from_wire` of a hook throws is handed on as it
/// is. A JSON value has no size: there the memory is limited only where the limits say how much.
template <class T, std::same_as<nlohmann::json> Json>
[[nodiscard]] result<T> from_json(const Json& json, const decode_limits& limits = {}) {
  if constexpr (detail::require_travels<detail::direction::decode, T>()) {
    try {
      detail::memory_budget memory(limits, 0);
      T value{};
      detail::take_json(detail::json_path(limits.depth, limits.memory != 0 ? &memory : nullptr),
                        json, value);
      return result<T>(std::in_place, std::move(value));
    } catch (...) {
      return result<T>(std::current_exception());
    }
  }
}

/// The same of text. Where the limits do not say how much memory, it is 256 bytes for each
/// character, and 64 KiB: fields that are not there take none. What the parser takes for itself
/// comes on top.
template <class T>
[[nodiscard]] result<T> from_json(std::string_view text, const decode_limits& limits = {}) {
  if constexpr (detail::require_travels<detail::direction::decode, T>()) {
    try {
      constexpr std::size_t for_each_character = 256;
      detail::memory_budget memory(limits, text.size(), for_each_character);
      const nlohmann::json parsed = detail::parse_json(text, limits);
      T value{};
      detail::take_json(detail::json_path(limits.depth, &memory), parsed, value);
      return result<T>(std::in_place, std::move(value));
    } catch (...) {
      return result<T>(std::current_exception());
    }
  }
}

}  // namespace troupe
