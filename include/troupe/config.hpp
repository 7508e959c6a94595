// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What the compiler and the platform can do, and the assertion every other header uses.
///
/// Layer: config. The only header that asks which compiler or operating system this is; all others
/// test the macros defined here.

#include <cstddef>
#include <cstdio>
#include <cstdlib>

// -- Attributes the compilers spell differently -------------------------------------------------

#if defined(_MSC_VER) && !defined(__clang__)
#  define TROUPE_NOINLINE __declspec(noinline)
#  define TROUPE_ALWAYS_INLINE __forceinline
#  define TROUPE_COLD
#else
#  define TROUPE_NOINLINE __attribute__((noinline))
#  define TROUPE_ALWAYS_INLINE inline __attribute__((always_inline))
#  define TROUPE_COLD __attribute__((cold))
#endif

#if defined(_MSC_VER)
#  define TROUPE_NO_UNIQUE_ADDRESS [[msvc::no_unique_address]]
#else
#  define TROUPE_NO_UNIQUE_ADDRESS [[no_unique_address]]
#endif

/// The signature of the enclosing function, template arguments included; see base/type_name.hpp.
#if defined(_MSC_VER) && !defined(__clang__)
#  define TROUPE_PRETTY_FUNCTION __FUNCSIG__
#else
#  define TROUPE_PRETTY_FUNCTION __PRETTY_FUNCTION__
#endif

// -- Sanitizers: 1 or 0 --------------------------------------------------------------------------

#if defined(__SANITIZE_THREAD__)
#  define TROUPE_TSAN 1
#elif defined(__has_feature)
#  if __has_feature(thread_sanitizer)
#    define TROUPE_TSAN 1
#  endif
#endif
#if !defined(TROUPE_TSAN)
#  define TROUPE_TSAN 0
#endif

#if defined(__SANITIZE_ADDRESS__)
#  define TROUPE_ASAN 1
#elif defined(__has_feature)
#  if __has_feature(address_sanitizer)
#    define TROUPE_ASAN 1
#  endif
#endif
#if !defined(TROUPE_ASAN)
#  define TROUPE_ASAN 0
#endif

// -- Choices a user may make ---------------------------------------------------------------------

/// Whether coroutine frames are recycled through free lists. Off under AddressSanitizer, which can
/// only see a use after free if the frame really is freed.
#if !defined(TROUPE_POOL_FRAMES)
#  if TROUPE_ASAN
#    define TROUPE_POOL_FRAMES 0
#  else
#    define TROUPE_POOL_FRAMES 1
#  endif
#endif

/// Whether `TROUPE_ASSERT` checks: on unless NDEBUG, or as the user says.
#if !defined(TROUPE_ASSERTIONS)
#  if defined(NDEBUG)
#    define TROUPE_ASSERTIONS 0
#  else
#    define TROUPE_ASSERTIONS 1
#  endif
#endif

/// Whether threads block through a table of condition variables instead of the kernel's futex.
/// Needed where there is no futex; may be asked for elsewhere, which is how it is tested.
#if !defined(TROUPE_FUTEX_FALLBACK)
#  if defined(__linux__)
#    define TROUPE_FUTEX_FALLBACK 0
#  else
#    define TROUPE_FUTEX_FALLBACK 1
#  endif
#endif

// -- The assertion -------------------------------------------------------------------------------

/// Checks a precondition: prints file, line, condition and message to stderr and aborts if it is
/// broken. The condition is not evaluated when assertions are off, so it must have no side effect.
#if TROUPE_ASSERTIONS
#  define TROUPE_ASSERT(condition, message) \
    (static_cast<bool>(condition)           \
         ? static_cast<void>(0)             \
         : ::troupe::detail::assertion_failed(__FILE__, __LINE__, #condition, message))
#else
#  define TROUPE_ASSERT(condition, message) static_cast<void>(sizeof(!(condition)))
#endif

#if defined(_MSC_VER) && !defined(__clang__)
#  include <intrin.h>
#endif

namespace troupe {

/// Data written by different threads is kept this far apart. A constant rather than
/// `std::hardware_destructive_interference_size`, which may differ between two translation units.
inline constexpr std::size_t cache_line_size = 64;

namespace detail {

/// Out of line and cold, so that an assertion costs its caller one compare and one branch.
[[noreturn]] TROUPE_NOINLINE TROUPE_COLD inline void assertion_failed(const char* file, int line,
                                                                      const char* condition,
                                                                      const char* message) {
  std::fprintf(stderr, "%s:%d: assertion `%s` failed: %s\n", file, line, condition, message);
  std::fflush(stderr);
  std::abort();
}

#if defined(TROUPE_ATOMIC_HEADER)

// A checker schedules threads by itself (sync/atomic.hpp): who spins gives way to the others, and
// no loop looks twice before it does something else than looking.
void cpu_relax() noexcept;
constexpr int spin_limit(int) noexcept { return 0; }

#else

/// Tells the core that this is a spinning loop: saves power and lets its sibling thread run.
TROUPE_ALWAYS_INLINE void cpu_relax() noexcept {
#  if defined(_MSC_VER) && !defined(__clang__)
#    if defined(_M_ARM64) || defined(_M_ARM)
  __yield();
#    else
  _mm_pause();
#    endif
#  elif defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#  elif defined(__aarch64__) || defined(__arm__)
  __asm__ __volatile__("yield" ::: "memory");
#  endif
}

/// How often a loop looks before it does something else than looking.
constexpr int spin_limit(int looks) noexcept { return looks; }

#endif

}  // namespace detail
}  // namespace troupe
