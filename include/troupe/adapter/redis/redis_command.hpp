// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `redis_command`: what is asked of a Redis server, as the bytes that travel.
///
/// Layer: adapter. Arguments are any bytes. Short ones are copied, long ones shared: a large value
/// is not copied from here to the socket.

#include <charconv>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe/base/shared_bytes.hpp>

namespace troupe::detail {

/// A command with its arguments: `redis_command("SET").add(key).add(value)`, or
/// `redis_command("SET", key, value)`. Arguments are text, `shared_bytes` or whole numbers.
///
/// Thread safety: as a `std::string`.
class redis_command {
public:
  template <class... Args>
  explicit redis_command(std::string_view name, Args&&... arguments) {
    append(name);
    (append(std::forward<Args>(arguments)), ...);
  }

  template <class T>
  redis_command& add(T&& argument) & {
    append(std::forward<T>(argument));
    return *this;
  }
  template <class T>
  redis_command&& add(T&& argument) && {
    append(std::forward<T>(argument));
    return std::move(*this);
  }

  /// Adds both as one argument.
  redis_command& add_joined(std::string_view first, shared_bytes second) {
    begin(first.size() + second.size());
    text_ += first;
    if (second.size() < long_one) {
      text_ += second.view();
    } else {
      shared_size_ += second.size();
      pieces_.push_back({text_.size(), std::move(second)});
    }
    text_ += "\r\n";
    return *this;
  }

  /// About how many bytes will travel.
  [[nodiscard]] std::size_t size() const noexcept { return text_.size() + shared_size_ + 16; }

  /// Gives out what travels, piece by piece and in order: text that is copied, bytes that are
  /// shared.
  template <class Text, class Shared>
  void write(Text text, Shared shared) const;

private:
  static constexpr std::size_t long_one = 8192;  // of an argument that is worth a piece of its own

  struct piece {
    std::size_t at;  // so much of the text comes before it
    shared_bytes bytes;
  };

  void append(std::string_view argument);
  void append(const char* argument) { append(std::string_view(argument)); }
  void append(const std::string& argument) { append(std::string_view(argument)); }
  void append(std::string&& argument);
  void append(shared_bytes argument);
  void append(std::integral auto number);
  void begin(std::size_t size);
  void share(shared_bytes bytes);

  std::size_t arguments_ = 0;
  std::string text_;
  std::vector<piece> pieces_;
  std::size_t shared_size_ = 0;
};

// --- bodies -------------------------------------------------------------------------------------

/// A number of the protocol, with its sign and the end of its line.
class redis_length {
public:
  redis_length(char sign, std::uint64_t number) noexcept {
    text_[0] = sign;
    char* const end = std::to_chars(text_ + 1, text_ + sizeof text_ - 2, number).ptr;
    end[0] = '\r';
    end[1] = '\n';
    size_ = static_cast<std::size_t>(end + 2 - text_);
  }
  [[nodiscard]] std::string_view view() const noexcept { return {text_, size_}; }

private:
  char text_[24];
  std::size_t size_;
};

inline void redis_command::begin(std::size_t size) {
  ++arguments_;
  text_ += redis_length('$', size).view();
}

inline void redis_command::append(std::string_view argument) {
  begin(argument.size());
  text_ += argument;
  text_ += "\r\n";
}

inline void redis_command::append(std::string&& argument) {
  if (argument.size() < long_one) return append(std::string_view(argument));
  share(shared_bytes(std::move(argument)));
}

inline void redis_command::append(shared_bytes argument) {
  if (argument.size() < long_one) return append(argument.view());
  share(std::move(argument));
}

inline void redis_command::append(std::integral auto number) {
  char digits[24];
  const char* const end = std::to_chars(digits, digits + sizeof digits, number).ptr;
  append(std::string_view(digits, static_cast<std::size_t>(end - digits)));
}

inline void redis_command::share(shared_bytes bytes) {
  begin(bytes.size());
  shared_size_ += bytes.size();
  pieces_.push_back({text_.size(), std::move(bytes)});
  text_ += "\r\n";
}

template <class Text, class Shared>
void redis_command::write(Text text, Shared shared) const {
  text(redis_length('*', arguments_).view());
  std::string_view rest = text_;
  std::size_t done = 0;
  for (const piece& p : pieces_) {
    text(rest.substr(0, p.at - done));
    rest.remove_prefix(p.at - done);
    done = p.at;
    shared(p.bytes);
  }
  text(rest);
}

}  // namespace troupe::detail
