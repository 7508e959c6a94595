// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Which types of the standard library the codec knows, and as what.
///
/// Layer: codec. Compile time only.

#include <troupe/base/shared_bytes.hpp>
#include <troupe/codec/kind.hpp>

#include <array>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <deque>
#include <list>
#include <map>
#include <optional>
#include <ratio>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

namespace troupe::detail {

template <wire_kind Kind, class... Part>
struct standard_kind {
  static constexpr wire_kind kind = Kind;
  using parts = type_list<Part...>;
};

// -- Text and bytes ------------------------------------------------------------------------------

template <class Char>
inline constexpr bool is_text_unit = std::is_same_v<Char, char> || std::is_same_v<Char, char8_t>;

/// Strings of wider characters are sequences of numbers.
template <class Char>
using string_kind = std::conditional_t<is_text_unit<Char>, standard_kind<wire_kind::text>,
                                       standard_kind<wire_kind::sequence, Char>>;

template <class T>
using run_kind = std::conditional_t<std::is_same_v<T, std::byte>, standard_kind<wire_kind::bytes>,
                                    standard_kind<wire_kind::sequence, T>>;

template <class Char, class Traits, class Allocator>
struct standard_type<std::basic_string<Char, Traits, Allocator>> : string_kind<Char> {};
template <class Char, class Traits>
struct standard_type<std::basic_string_view<Char, Traits>> : string_kind<Char> {};
template <class Char, class Traits>
inline constexpr bool is_view<std::basic_string_view<Char, Traits>> = true;

template <class T, std::size_t N>
struct standard_type<std::span<T, N>> : run_kind<std::remove_cv_t<T>> {};
template <class T, std::size_t N>
inline constexpr bool is_view<std::span<T, N>> = true;

template <>
struct standard_type<shared_bytes> : standard_kind<wire_kind::bytes> {};

// -- Containers ----------------------------------------------------------------------------------

template <class T, class Allocator>
struct standard_type<std::vector<T, Allocator>> : run_kind<T> {};
template <class T, class Allocator>
struct standard_type<std::deque<T, Allocator>> : standard_kind<wire_kind::sequence, T> {};
template <class T, class Allocator>
struct standard_type<std::list<T, Allocator>> : standard_kind<wire_kind::sequence, T> {};
template <class T, std::size_t N>
struct standard_type<std::array<T, N>> : standard_kind<wire_kind::array, T> {};

template <class T, class Less, class Allocator>
struct standard_type<std::set<T, Less, Allocator>> : standard_kind<wire_kind::set, T> {};
template <class K, class T, class Less, class Allocator>
struct standard_type<std::map<K, T, Less, Allocator>> : standard_kind<wire_kind::map, K, T> {};
template <class T, class Hash, class Equal, class Allocator>
struct standard_type<std::unordered_set<T, Hash, Equal, Allocator>>
    : standard_kind<wire_kind::hash_set, T> {};
template <class K, class T, class Hash, class Equal, class Allocator>
struct standard_type<std::unordered_map<K, T, Hash, Equal, Allocator>>
    : standard_kind<wire_kind::hash_map, K, T> {};

// -- Others --------------------------------------------------------------------------------------

template <class First, class Second>
struct standard_type<std::pair<First, Second>> : standard_kind<wire_kind::record, First, Second> {};
template <class... T>
struct standard_type<std::tuple<T...>> : standard_kind<wire_kind::record, T...> {};

template <class T>
struct standard_type<std::optional<T>> : standard_kind<wire_kind::optional, T> {};
template <class... T>
struct standard_type<std::variant<T...>> : standard_kind<wire_kind::variant, T...> {};

template <class Rep, class Period>
struct standard_type<std::chrono::duration<Rep, Period>> : standard_kind<wire_kind::duration, Rep> {
};
template <class Clock, class Duration>
struct standard_type<std::chrono::time_point<Clock, Duration>>
    : standard_kind<wire_kind::time_point, Duration> {};

}  // namespace troupe::detail
