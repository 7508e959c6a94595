// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Stacks to switch between: what virtual threads run on. POSIX.

#include <csetjmp>
#include <cstddef>

#include <ucontext.h>

namespace troupe::model {

/// A stack that runs `entry(argument)`, or, without one, the system's thread itself.
///
/// A fiber that is not needed any more may be left where it is: `restart` makes it anew.
class fiber {
public:
  fiber() = default;
  fiber(const fiber&) = delete;
  fiber& operator=(const fiber&) = delete;
  ~fiber();

  static constexpr std::size_t stack_size = std::size_t{512} << 10;

  /// The next switch to it calls `entry(argument)`, which must not return.
  void restart(void (*entry)(void*), void* argument);

  /// Goes on in `to`; returns when somebody switches back. Called on this fiber.
  void switch_to(fiber& to) noexcept;

  /// The same for one that is not switched back to: not saved. From a signal handler too.
  [[noreturn]] static void abandon_for(fiber& to) noexcept;

  bool holds(const void* address) const noexcept {
    const char* const at = static_cast<const char*>(address);
    return stack_ != nullptr && at >= stack_ && at < stack_ + stack_size;
  }

private:
  static void begin(unsigned high, unsigned low) noexcept;
  [[noreturn]] void resume() noexcept;

  // What the C++ runtime keeps for each thread about exceptions: caught ones and how many are
  // in flight.
  struct exceptions {
    void* caught = nullptr;
    unsigned uncaught = 0;
  };

  char* stack_ = nullptr;
  bool fresh_ = false;
  void (*entry_)(void*) = nullptr;
  void* argument_ = nullptr;
  ucontext_t first_;
  std::jmp_buf saved_;
  exceptions exceptions_;
};

}  // namespace troupe::model
