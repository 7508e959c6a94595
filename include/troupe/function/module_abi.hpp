// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a module and whoever runs it know of each other: C structures and function pointers.
///
/// Layer: function. A module may be built by another compiler and against another version of this
/// library than its host, and may run in another process: nothing else crosses. No exception
/// leaves a function named here. Structures grow at their end only; `size` says how much of one is
/// there.

#include <cstdint>

extern "C" {

/// Bytes that somebody else owns, for as long as the function that they are given to says.
struct troupe_bytes {
  const unsigned char* data;
  std::uint64_t size;
};

enum : std::uint32_t {
  troupe_module_magic = 0x3150'5254,  ///< "TRP1" in memory: the table's first word.
  troupe_module_abi = 1,              ///< Changes with anything that is not growth at an end.
};

/// How the arguments and the result of a call are written.
enum : std::uint32_t {
  troupe_format_binary = 0,  ///< `encode(std::tuple(arguments...))`, `encode(result)`.
  troupe_format_json = 1,    ///< A JSON array of the arguments; the result as JSON.
};

/// How a call has ended, and what its reply holds.
enum : std::uint32_t {
  troupe_outcome_value = 0,      ///< The result; empty for `void`.
  troupe_outcome_exception = 1,  ///< The method threw: the type's name, a zero byte, `what()`.
  troupe_outcome_error = 2,      ///< A `troupe::errc` in `code`; the reply is its detail.
};

/// One call of one function. Whoever runs the module owns it, unchanged, until `settle`.
struct troupe_module_call {
  std::uint32_t size;
  std::uint32_t function;  ///< An index into the table.
  std::uint32_t format;
  std::uint32_t reserved;
  std::uint64_t id;       ///< For `stop`; never used twice for one instance.
  std::int64_t deadline;  ///< By the host's clock, in nanoseconds; the largest value: none.
  troupe_bytes key;       ///< Which worker of the module; usually empty.
  troupe_bytes caller;    ///< Who calls, as the host has stamped it: text.
  troupe_bytes payload;

  /// Ends the call: exactly once, from any thread, perhaps inside `call`. The reply is the
  /// module's until this returns; the call is gone then.
  void (*settle)(troupe_module_call* self, std::uint32_t outcome, std::uint32_t code,
                 troupe_bytes reply);
};

/// How a call that a module has made has ended. The reply is the host's until this returns.
typedef void (*troupe_settled)(void* context, std::uint32_t outcome, std::uint32_t code,
                               troupe_bytes reply);

/// What a module may ask of whoever runs it. All functions may be called from any thread.
struct troupe_module_host {
  std::uint32_t size;
  std::uint32_t abi;
  void* self;  ///< The first argument of all functions.

  /// Runs `work(context)` soon, on a thread of the host, never inside this function.
  void (*post)(void* self, void (*work)(void* context), void* context);

  std::int64_t (*now)(void* self);  ///< A clock that only goes forward, in nanoseconds.
  std::uint64_t (*random)(void* self);

  /// Calls the module's `wake` at `when` or soon after; an earlier time replaces a later one.
  void (*wake_at)(void* self, std::int64_t when);

  /// Calls a function of another module, by name, if this module is allowed to. What is passed is
  /// copied before this returns; `settled` is called exactly once, never inside this function.
  void (*call)(void* self, troupe_bytes module, troupe_bytes version, troupe_bytes function,
               std::uint32_t format, troupe_bytes key, troupe_bytes payload, std::int64_t deadline,
               troupe_settled settled, void* context);
};

/// One function of a module. Texts are the module's and end with a zero.
struct troupe_module_function {
  const char* name;
  const char* signature;     ///< For people: "double add(double, double)".
  std::uint64_t parameters;  ///< The codec's fingerprint of `std::tuple<parameters...>`.
  std::uint64_t result;      ///< The codec's fingerprint of the result; zero for `void`.
};

/// What a module says of itself: constant, and there for as long as the library is mapped.
struct troupe_module_table {
  std::uint32_t magic;
  std::uint32_t abi;
  std::uint32_t size;
  std::uint32_t function_count;
  std::uint32_t formats;  ///< Bit n: format n is understood.
  std::uint32_t reserved;
  const char* name;
  const char* version;
  const char* build;  ///< For people: compiler, library version, time of the build.
  const troupe_module_function* functions;

  /// Makes an instance that lives by `host`, which outlives it. Returns null where that fails,
  /// having said why to `fail`, once, with a text that ends with a zero.
  void* (*create)(const troupe_module_host* host, void (*fail)(void* context, const char* why),
                  void* context);

  /// Starts a call, and may end it.
  void (*call)(void* instance, troupe_module_call* call);

  /// Asks a running call to stop; nothing happens if it has ended.
  void (*stop)(void* instance, std::uint64_t call_id);

  /// The time given to `wake_at` has come.
  void (*wake)(void* instance);

  /// Begins the end: no call is made any more, those that run are asked to stop. `ended` is called
  /// once, from any thread, when nothing of the instance runs or is posted any more.
  void (*close)(void* instance, void (*ended)(void* context), void* context);

  /// Frees the instance, after `ended` has returned.
  void (*destroy)(void* instance);
};

/// The only symbol of a module: `troupe_module_entry`.
typedef const troupe_module_table* (*troupe_module_entry_function)(void);

}  // extern "C"

namespace troupe::detail {

inline constexpr const char* module_entry_symbol = "troupe_module_entry";

}  // namespace troupe::detail
