// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The binary form of a value of each kind: what writes it stands beside what reads it. What the
/// bytes are is said in docs/codec.md.
///
/// Layer: codec.

#include <troupe/base/error.hpp>
#include <troupe/base/hash.hpp>
#include <troupe/base/shared_bytes.hpp>
#include <troupe/base/worker_id.hpp>
#include <troupe/codec/byte_counter.hpp>
#include <troupe/codec/byte_reader.hpp>
#include <troupe/codec/byte_writer.hpp>
#include <troupe/codec/kind.hpp>
#include <troupe/codec/nesting.hpp>
#include <troupe/codec/shape.hpp>
#include <troupe/codec/standard_types.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <iterator>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace troupe::detail {

template <class T, wire_kind Kind = kind_of<T>>
struct binary_form;

/// `Writer` is a `byte_writer`, or a `byte_counter` that only asks how long it will be.
template <class T, class Writer>
void write_value(Writer& to, const T& value) {
  binary_form<T>::write(to, value);
}

template <class T>
void read_value(byte_reader& from, T& value) {
  binary_form<T>::read(from, value);
}

// -- Numbers -------------------------------------------------------------------------------------

template <class T>
struct binary_form<T, wire_kind::boolean> {
  template <class Writer>
  static void write(Writer& to, bool value) {
    to.put(std::byte{value});
  }
  static void read(byte_reader& from, T& value) {
    const auto byte = std::to_integer<unsigned>(from.take());
    if (byte > 1) from.fail(errc::bad_message, "neither true nor false");
    value = byte == 1;
  }
};

template <class T>
struct binary_form<T, wire_kind::byte> {
  template <class Writer>
  static void write(Writer& to, std::byte value) {
    to.put(value);
  }
  static void read(byte_reader& from, std::byte& value) { value = from.take(); }
};

/// Small magnitudes become small numbers, whatever their sign: 0, -1, 1, -2, 2 ...
[[nodiscard]] constexpr std::uint64_t to_zigzag(std::int64_t value) noexcept {
  const auto sign = static_cast<std::uint64_t>(value >> 63);
  return (static_cast<std::uint64_t>(value) << 1) ^ sign;
}

[[nodiscard]] constexpr std::int64_t from_zigzag(std::uint64_t value) noexcept {
  return static_cast<std::int64_t>((value >> 1) ^ (0 - (value & 1)));
}

template <class T>
struct binary_form<T, wire_kind::integer> {
  template <class Writer>
  static void write(Writer& to, T value) {
    if constexpr (sizeof(T) == 1) {
      to.put(static_cast<std::byte>(value));
    } else if constexpr (std::is_signed_v<T>) {
      to.put_varint(to_zigzag(value));
    } else {
      to.put_varint(value);
    }
  }

  static void read(byte_reader& from, T& value) {
    if constexpr (sizeof(T) == 1) {
      value = static_cast<T>(from.take());
    } else if constexpr (std::is_signed_v<T>) {
      value = narrow(from, from_zigzag(from.take_varint()));
    } else {
      value = narrow(from, from.take_varint());
    }
  }

private:
  template <class Wide>
  [[nodiscard]] static T narrow(byte_reader& from, Wide wide) {
    const T value = static_cast<T>(wide);
    if (static_cast<Wide>(value) != wide) from.fail(errc::bad_message, "a number is out of range");
    return value;
  }
};

template <class T>
struct binary_form<T, wire_kind::enumeration> {
  using number = enum_number<T>;

  template <class Writer>
  static void write(Writer& to, T value) {
    const auto as_number = static_cast<number>(value);
    if (!is_in_range<T>(as_number)) {
      throw error(errc::bad_message, worker_id{}, "an enumeration is out of its range");
    }
    write_value(to, as_number);
  }

  static void read(byte_reader& from, T& value) {
    number as_number{};
    read_value(from, as_number);
    if (!is_in_range<T>(as_number)) {
      from.fail(errc::bad_message, "an enumeration is out of its range");
    }
    value = static_cast<T>(as_number);
  }
};

template <class T>
struct binary_form<T, wire_kind::floating> {
  using bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;

  template <class Writer>
  static void write(Writer& to, T value) {
    const auto from = std::bit_cast<bits>(value);
    std::array<std::byte, sizeof(T)> image;
    for (std::size_t i = 0; i != sizeof(T); ++i) image[i] = static_cast<std::byte>(from >> (8 * i));
    to.put_bytes(image.data(), image.size());
  }

  static void read(byte_reader& from, T& value) {
    const std::span<const std::byte> image = from.take(sizeof(T));
    value = std::bit_cast<T>(static_cast<bits>(load_little_endian(image.data(), sizeof(T))));
  }
};

template <class T>
struct binary_form<T, wire_kind::duration> {
  template <class Writer>
  static void write(Writer& to, const T& value) {
    write_value(to, value.count());
  }
  static void read(byte_reader& from, T& value) {
    typename T::rep ticks{};
    read_value(from, ticks);
    value = T(ticks);
  }
};

template <class T>
struct binary_form<T, wire_kind::time_point> {
  template <class Writer>
  static void write(Writer& to, const T& value) {
    write_value(to, value.time_since_epoch());
  }
  static void read(byte_reader& from, T& value) {
    typename T::duration since{};
    read_value(from, since);
    value = T(since);
  }
};

// -- Text and bytes ------------------------------------------------------------------------------

template <class T>
struct binary_form<T, wire_kind::text> {
  template <class Writer>
  static void write(Writer& to, const T& value) {
    to.put_varint(value.size());
    to.put_bytes(value.data(), value.size());
  }

  static void read(byte_reader& from, T& value) {
    const std::span<const std::byte> bytes = from.take(from.take_count(1));
    value.assign(reinterpret_cast<const typename T::value_type*>(bytes.data()), bytes.size());
  }
};

template <class T>
struct binary_form<T, wire_kind::bytes> {
  template <class Writer>
  static void write(Writer& to, const T& value) {
    to.put_varint(value.size());
    to.put_bytes(value.data(), value.size());
  }

  static void read(byte_reader& from, T& value) {
    const std::size_t size = from.take_count(1);
    if constexpr (std::is_same_v<T, shared_bytes>) {
      value = from.take_shared(size);
    } else {
      const std::span<const std::byte> bytes = from.take(size);
      value.assign(bytes.begin(), bytes.end());
    }
  }
};

// -- Containers ----------------------------------------------------------------------------------

/// Elements whose image in memory is their binary form: a run of them is copied as a whole.
template <class T>
inline constexpr bool is_image =
    (kind_of<T> == wire_kind::integer && sizeof(T) == 1) || kind_of<T> == wire_kind::byte ||
    (kind_of<T> == wire_kind::floating && std::endian::native == std::endian::little);

/// Reads the number of elements of a `T`, and asks for their memory.
template <class T, class Element = typename T::value_type>
[[nodiscard]] std::size_t read_count(byte_reader& from, std::size_t fewest) {
  const std::size_t count = from.take_count(fewest);
  if (!from.memory().take_elements<T, Element>(count)) {
    from.fail(errc::too_large, memory_budget::exceeded);
  }
  return count;
}

template <class T, class Writer>
void write_elements(Writer& to, const T& value) {
  using element = std::remove_cv_t<typename T::value_type>;
  if constexpr (is_image<element> && is_run<T>) {
    to.put_bytes(std::data(value), std::size(value) * sizeof(element));
  } else {
    for (const auto& one : value) write_value<element>(to, one);
  }
}

template <class T>
void read_image(byte_reader& from, T& value) {
  const std::size_t size = value.size() * sizeof(typename T::value_type);
  const std::span<const std::byte> bytes = from.take(size);
  if (size != 0) std::memcpy(value.data(), bytes.data(), size);
}

template <class T>
struct binary_form<T, wire_kind::sequence> {
  template <class Writer>
  static void write(Writer& to, const T& value) {
    const nesting_level level(to);
    to.put_varint(value.size());
    write_elements(to, value);
  }

  static void read(byte_reader& from, T& value) {
    using element = typename T::value_type;
    const nesting_level level(from);
    const std::size_t count = read_count<T>(from, fewest_bytes<element>);
    value.clear();
    if constexpr (is_image<element> && is_run<T>) {
      value.resize(count);
      read_image(from, value);
    } else {
      if constexpr (requires { value.reserve(count); }) value.reserve(count);
      for (std::size_t i = 0; i != count; ++i) {
        element one{};
        read_value(from, one);
        value.push_back(std::move(one));
      }
    }
  }
};

/// What has no parts is one byte: nothing is empty on the wire.
inline constexpr std::byte nothing_inside{0};

inline void read_nothing(byte_reader& from) {
  if (from.take() != nothing_inside) from.fail(errc::bad_message, "an empty value is not 0");
}

template <class T>
struct binary_form<T, wire_kind::array> {
  template <class Writer>
  static void write(Writer& to, const T& value) {
    const nesting_level level(to);
    if constexpr (std::tuple_size_v<T> == 0) {
      to.put(nothing_inside);
    } else {
      write_elements(to, value);
    }
  }

  static void read(byte_reader& from, T& value) {
    const nesting_level level(from);
    if constexpr (std::tuple_size_v<T> == 0) {
      read_nothing(from);
    } else if constexpr (is_image<typename T::value_type>) {
      read_image(from, value);
    } else {
      for (auto& one : value) read_value(from, one);
    }
  }
};

/// Reads the keys of ordered containers: each above the one before it, so there are no duplicates
/// and one spelling only.
template <class T>
struct ordered_form {
  static void expect_above(byte_reader& from, const T& value, const typename T::key_type& key) {
    if (value.empty()) return;
    const auto& last = *std::prev(value.end());
    bool above;
    if constexpr (requires { typename T::mapped_type; }) {
      above = value.key_comp()(last.first, key);
    } else {
      above = value.key_comp()(last, key);
    }
    if (!above) from.fail(errc::bad_message, "keys do not ascend");
  }
};

/// Reads the keys of containers without an order.
template <class T>
void expect_new(byte_reader& from, bool is_new) {
  if (!is_new) from.fail(errc::bad_message, "a key is there twice");
}

template <class T>
struct binary_set {
  using element = typename T::value_type;

  template <class Writer>
  static void write(Writer& to, const T& value) {
    const nesting_level level(to);
    to.put_varint(value.size());
    write_elements(to, value);
  }

  static void read(byte_reader& from, T& value) {
    const nesting_level level(from);
    const std::size_t count = read_count<T>(from, fewest_bytes<element>);
    value.clear();
    for (std::size_t i = 0; i != count; ++i) {
      element one{};
      read_value(from, one);
      insert(from, value, std::move(one));
    }
  }

private:
  static void insert(byte_reader& from, T& value, element&& one) {
    if constexpr (kind_of<T> == wire_kind::set) {
      ordered_form<T>::expect_above(from, value, one);
      value.emplace_hint(value.end(), std::move(one));
    } else {
      expect_new<T>(from, value.insert(std::move(one)).second);
    }
  }
};

template <class T>
struct binary_map {
  using key = typename T::key_type;
  using mapped = typename T::mapped_type;

  template <class Writer>
  static void write(Writer& to, const T& value) {
    const nesting_level level(to);
    to.put_varint(value.size());
    for (const auto& [first, second] : value) {
      write_value(to, first);
      write_value(to, second);
    }
  }

  static void read(byte_reader& from, T& value) {
    const nesting_level level(from);
    const std::size_t count = read_count<T>(from, fewest_bytes<key> + fewest_bytes<mapped>);
    value.clear();
    for (std::size_t i = 0; i != count; ++i) {
      key first{};
      read_value(from, first);
      read_value(from, place(from, value, std::move(first)));
    }
  }

private:
  [[nodiscard]] static mapped& place(byte_reader& from, T& value, key&& first) {
    if constexpr (kind_of<T> == wire_kind::map) {
      ordered_form<T>::expect_above(from, value, first);
      return value.try_emplace(value.end(), std::move(first))->second;
    } else {
      const auto [at, is_new] = value.try_emplace(std::move(first));
      expect_new<T>(from, is_new);
      return at->second;
    }
  }
};

template <class T>
struct binary_form<T, wire_kind::set> : binary_set<T> {};
template <class T>
struct binary_form<T, wire_kind::hash_set> : binary_set<T> {};
template <class T>
struct binary_form<T, wire_kind::map> : binary_map<T> {};
template <class T>
struct binary_form<T, wire_kind::hash_map> : binary_map<T> {};

// -- Choices, records, hooks ---------------------------------------------------------------------

template <class T>
struct binary_form<T, wire_kind::optional> {
  template <class Writer>
  static void write(Writer& to, const T& value) {
    const nesting_level level(to);
    to.put(std::byte{value.has_value()});
    if (value.has_value()) write_value(to, *value);
  }

  static void read(byte_reader& from, T& value) {
    const nesting_level level(from);
    bool is_there = false;
    read_value(from, is_there);
    value.reset();
    if (is_there) read_value(from, value.emplace());
  }
};

template <class T>
struct binary_form<T, wire_kind::variant> {
  using indices = std::make_index_sequence<std::variant_size_v<T>>;

  template <class Writer>
  static void write(Writer& to, const T& value) {
    const nesting_level level(to);
    if (value.valueless_by_exception()) {
      throw error(errc::bad_message, worker_id{}, "a variant has no value");
    }
    to.put_varint(value.index());
    std::visit([&](const auto& held) { write_value(to, held); }, value);
  }

  static void read(byte_reader& from, T& value) {
    const nesting_level level(from);
    const std::uint64_t index = from.take_varint();
    if (index >= std::variant_size_v<T>) from.fail(errc::bad_message, "no such alternative");
    read_at(from, value, index, indices{});
  }

private:
  template <std::size_t... I>
  static void read_at(byte_reader& from, T& value, std::uint64_t index, std::index_sequence<I...>) {
    static_cast<void>(
        ((index == I && (read_value(from, value.template emplace<I>()), true)) || ...));
  }
};

template <class T>
struct binary_form<T, wire_kind::record> {
  template <class Writer>
  static void write(Writer& to, const T& value) {
    const nesting_level level(to);
    const auto tied = tie_fields(value);
    if constexpr (std::tuple_size_v<decltype(tied)> == 0) {
      to.put(nothing_inside);
    } else {
      std::apply([&](const auto&... field) { (write_value(to, field), ...); }, tied);
    }
  }

  static void read(byte_reader& from, T& value) {
    const nesting_level level(from);
    auto tied = tie_fields(value);
    if constexpr (std::tuple_size_v<decltype(tied)> == 0) {
      read_nothing(from);
    } else {
      std::apply([&](auto&... field) { (read_value(from, field), ...); }, tied);
    }
  }
};

template <class T>
struct binary_form<T, wire_kind::hook> {
  using wire = typename codec<T>::wire;

  template <class Writer>
  static void write(Writer& to, const T& value) {
    const nesting_level level(to);
    if constexpr (std::is_same_v<Writer, byte_counter>) {
      to.skip(fewest_bytes<wire>);  // asking twice may cost more than being short of memory once
    } else {
      write_value<wire>(to, codec<T>::to_wire(value));
    }
  }

  static void read(byte_reader& from, T& value) {
    const nesting_level level(from);
    wire as_wire{};
    read_value(from, as_wire);
    value = codec<T>::from_wire(std::move(as_wire));
  }
};

}  // namespace troupe::detail
