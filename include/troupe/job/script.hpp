// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a script is: a class that makes a result of params, somewhere.
///
/// Layer: job. Compile time only.

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <troupe/base/type_name.hpp>
#include <troupe/codec/encodable.hpp>

namespace troupe {

class job_context;

/// What a client needs of a script: `params` and `result`, which travel.
template <class S>
concept script_form = decodable<typename S::params> && encodable<typename S::params> &&
                      (std::is_void_v<typename S::result> ||
                       (decodable<typename S::result> && encodable<typename S::result>));

/// The same with `operator()(params)` or `operator()(params, job_context&)`, plain or a coroutine.
/// Each attempt has an instance of its own, made by default.
template <class S>
concept script = script_form<S> && std::is_default_constructible_v<S> &&
                 (std::is_invocable_v<S&, typename S::params> ||
                  std::is_invocable_v<S&, typename S::params, job_context&>);

/// `S::name`, or the name of the class.
template <class S>
[[nodiscard]] constexpr std::string_view script_name() noexcept {
  if constexpr (requires { std::string_view(S::name); }) {
    return S::name;
  } else {
    return type_name<S>();
  }
}

/// `S::version`, or 1. An instrument runs jobs of the very version that it has.
template <class S>
[[nodiscard]] constexpr std::uint32_t script_version() noexcept {
  if constexpr (requires { std::uint32_t(S::version); }) {
    return S::version;
  } else {
    return 1;
  }
}

namespace detail {

template <class S>
[[nodiscard]] constexpr bool script_blocks() noexcept {
  if constexpr (requires { bool(S::blocking); }) {
    return S::blocking;
  } else {
    return false;
  }
}

template <class S>
struct script_progress {
  using type = double;
};
template <class S>
  requires requires { typename S::progress; }
struct script_progress<S> {
  using type = typename S::progress;
};
template <class S>
struct script_output {
  using type = std::string;
};
template <class S>
  requires requires { typename S::output; }
struct script_output<S> {
  using type = typename S::output;
};

/// The types of what it tells.
template <class S>
struct script_telling {
  using progress = typename script_progress<S>::type;
  using output = typename script_output<S>::type;
};

template <class S, class... Args>
typename S::params make_params(Args&&... args) {
  using type = typename S::params;
  if constexpr (requires { type{std::forward<Args>(args)...}; }) {
    return type{std::forward<Args>(args)...};
  } else {
    return type(std::forward<Args>(args)...);
  }
}

}  // namespace detail
}  // namespace troupe
