// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `put_off`: a type that a template knows only where it is used.
///
/// Layer: base. For what a program may never use, so that reading it costs little; what that is
/// about stands in docs/compilers.md.

namespace troupe::detail {

template <class T, class Lazy>
struct put_off_type {
  using type = T;
};

/// `T`. In a template with the parameter `Lazy` a compiler does not look into it, nor at what is
/// done with it, before that template is instantiated.
template <class T, class Lazy>
using put_off = typename put_off_type<T, Lazy>::type;

}  // namespace troupe::detail
