// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a Redis server has answered: `redis_reply` owns it, `redis_view` looks into it.
///
/// Layer: adapter.

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>

#include <hiredis/hiredis.h>

#include <troupe/base/error.hpp>

namespace troupe::detail {

enum class redis_kind : std::uint8_t {
  null,
  text,  ///< Bytes of any kind, and the short words such as OK.
  integer,
  list,
  failure  ///< The server's own words of what was wrong.
};

[[nodiscard]] constexpr std::string_view to_string(redis_kind k) noexcept {
  constexpr std::string_view names[] = {"nothing", "text", "a number", "a list", "a failure"};
  return names[static_cast<std::size_t>(k)];
}

/// Looks at an answer, or at a part of it, which somebody else keeps. Who asks for something that
/// is not there gets an `errc::bad_message` that says what is there.
///
/// Thread safety: an answer is never written to.
class redis_view {
public:
  class iterator;

  /// Nothing.
  redis_view() noexcept = default;
  explicit redis_view(const ::redisReply* at) noexcept : at_(at) {}

  [[nodiscard]] redis_kind kind() const noexcept {
    if (at_ == nullptr) return redis_kind::null;
    switch (at_->type) {
      case REDIS_REPLY_INTEGER:
        return redis_kind::integer;
      case REDIS_REPLY_ARRAY:
        return redis_kind::list;
      case REDIS_REPLY_ERROR:
        return redis_kind::failure;
      case REDIS_REPLY_NIL:
        return redis_kind::null;
      default:
        return redis_kind::text;
    }
  }
  [[nodiscard]] bool is_null() const noexcept { return kind() == redis_kind::null; }
  [[nodiscard]] bool is_failure() const noexcept { return kind() == redis_kind::failure; }

  /// The bytes of a text, or the words of a failure.
  [[nodiscard]] std::string_view text() const {
    if (kind() != redis_kind::failure) require(redis_kind::text);
    return {at_->str, at_->len};
  }

  [[nodiscard]] std::int64_t integer() const {
    require(redis_kind::integer);
    return at_->integer;
  }

  /// How many there are in a list; 0 where there is nothing.
  [[nodiscard]] std::size_t size() const {
    if (is_null()) return 0;
    require(redis_kind::list);
    return at_->elements;
  }
  [[nodiscard]] redis_view operator[](std::size_t index) const {
    if (index >= size()) refuse("a list of " + std::to_string(size()) + " is too short");
    return redis_view(at_->element[index]);
  }
  [[nodiscard]] inline iterator begin() const;
  [[nodiscard]] inline iterator end() const;

private:
  void require(redis_kind wanted) const {
    if (kind() != wanted) {
      refuse(std::string(to_string(wanted)) + " was expected, " + std::string(to_string(kind())) +
             " has come");
    }
  }
  [[noreturn]] static void refuse(const std::string& why) {
    throw error(errc::bad_message, {}, "the answer of Redis: " + why);
  }

  const ::redisReply* at_ = nullptr;
};

class redis_view::iterator {
public:
  using value_type = redis_view;
  using difference_type = std::ptrdiff_t;
  using iterator_category = std::input_iterator_tag;
  using reference = redis_view;
  using pointer = void;

  iterator() noexcept = default;
  explicit iterator(const ::redisReply* const* at) noexcept : at_(at) {}

  redis_view operator*() const noexcept { return redis_view(*at_); }
  iterator& operator++() noexcept {
    ++at_;
    return *this;
  }
  iterator operator++(int) noexcept { return iterator(at_++); }
  friend bool operator==(const iterator&, const iterator&) = default;

private:
  const ::redisReply* const* at_ = nullptr;
};

inline redis_view::iterator redis_view::begin() const {
  return size() == 0 ? iterator() : iterator(at_->element);
}
inline redis_view::iterator redis_view::end() const {
  return size() == 0 ? iterator() : iterator(at_->element + at_->elements);
}

/// Owns an answer. Its views are good as long as it lives, also when it is moved.
class redis_reply {
public:
  /// Nothing.
  redis_reply() noexcept = default;
  /// Takes over what the reader of hiredis has made.
  explicit redis_reply(::redisReply* made) noexcept : made_(made) {}

  [[nodiscard]] redis_view view() const noexcept { return redis_view(made_.get()); }
  [[nodiscard]] redis_kind kind() const noexcept { return view().kind(); }
  [[nodiscard]] bool is_null() const noexcept { return view().is_null(); }
  [[nodiscard]] bool is_failure() const noexcept { return view().is_failure(); }
  [[nodiscard]] std::string_view text() const { return view().text(); }
  [[nodiscard]] std::int64_t integer() const { return view().integer(); }
  [[nodiscard]] std::size_t size() const { return view().size(); }
  [[nodiscard]] redis_view operator[](std::size_t index) const { return view()[index]; }
  [[nodiscard]] redis_view::iterator begin() const { return view().begin(); }
  [[nodiscard]] redis_view::iterator end() const { return view().end(); }

private:
  struct free_it {
    void operator()(::redisReply* r) const noexcept { ::freeReplyObject(r); }
  };

  std::unique_ptr<::redisReply, free_it> made_;
};

}  // namespace troupe::detail
