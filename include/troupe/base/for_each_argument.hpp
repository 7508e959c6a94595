// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `TROUPE_DETAIL_EACH(macro, A, x, y, ...)` becomes `macro(A, x) macro(A, y) ...`, by re-scanning,
/// for up to 80 arguments.
///
/// Layer: base. For the preprocessor alone.

#define TROUPE_DETAIL_PARENS ()
#define TROUPE_DETAIL_EXPAND(...) \
  TROUPE_DETAIL_EXPAND3(          \
      TROUPE_DETAIL_EXPAND3(TROUPE_DETAIL_EXPAND3(TROUPE_DETAIL_EXPAND3(__VA_ARGS__))))
#define TROUPE_DETAIL_EXPAND3(...) \
  TROUPE_DETAIL_EXPAND2(           \
      TROUPE_DETAIL_EXPAND2(TROUPE_DETAIL_EXPAND2(TROUPE_DETAIL_EXPAND2(__VA_ARGS__))))
#define TROUPE_DETAIL_EXPAND2(...) \
  TROUPE_DETAIL_EXPAND1(           \
      TROUPE_DETAIL_EXPAND1(TROUPE_DETAIL_EXPAND1(TROUPE_DETAIL_EXPAND1(__VA_ARGS__))))
#define TROUPE_DETAIL_EXPAND1(...) __VA_ARGS__
#define TROUPE_DETAIL_EACH(macro, A, ...) \
  __VA_OPT__(TROUPE_DETAIL_EXPAND(TROUPE_DETAIL_EACH_STEP(macro, A, __VA_ARGS__)))
#define TROUPE_DETAIL_EACH_STEP(macro, A, name, ...) \
  macro(A, name) __VA_OPT__(TROUPE_DETAIL_EACH_AGAIN TROUPE_DETAIL_PARENS(macro, A, __VA_ARGS__))
#define TROUPE_DETAIL_EACH_AGAIN() TROUPE_DETAIL_EACH_STEP
