// SPDX-License-Identifier: MIT
// A fiber is entered once by ucontext; later switches are jumps between saved registers, which,
// unlike swapcontext, make no system call.

#include <model/checker/fiber.hpp>

#include <cxxabi.h>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include <sys/mman.h>

#include <troupe/config.hpp>

#if TROUPE_ASAN
#  include <sanitizer/common_interface_defs.h>
#endif

namespace troupe::model {
namespace {

constexpr std::size_t exceptions_size = sizeof(void*) + sizeof(unsigned);

}  // namespace

fiber::~fiber() {
  if (stack_ != nullptr) ::munmap(stack_, stack_size);
}

void fiber::restart(void (*entry)(void*), void* argument) {
  if (stack_ == nullptr) {
    void* const memory = ::mmap(nullptr, stack_size, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    stack_ = static_cast<char*>(memory);
  }
  entry_ = entry;
  argument_ = argument;
  exceptions_ = {};
  ::getcontext(&first_);
  first_.uc_stack.ss_sp = stack_;
  first_.uc_stack.ss_size = stack_size;
  first_.uc_link = nullptr;
  const auto self = reinterpret_cast<std::uintptr_t>(this);
  ::makecontext(&first_, reinterpret_cast<void (*)()>(&fiber::begin), 2,
                static_cast<unsigned>(self >> 32), static_cast<unsigned>(self & 0xffffffffu));
  fresh_ = true;
}

void fiber::begin(unsigned high, unsigned low) noexcept {
  auto* const self = reinterpret_cast<fiber*>((static_cast<std::uintptr_t>(high) << 32) | low);
#if TROUPE_ASAN
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
  self->entry_(self->argument_);
  std::abort();
}

void fiber::resume() noexcept {
  std::memcpy(static_cast<void*>(abi::__cxa_get_globals()), &exceptions_, exceptions_size);
  if (fresh_) {
    fresh_ = false;
    ::setcontext(&first_);
  }
  std::longjmp(saved_, 1);
}

void fiber::switch_to(fiber& to) noexcept {
  std::memcpy(static_cast<void*>(&exceptions_), static_cast<void*>(abi::__cxa_get_globals()),
              exceptions_size);
  if (_setjmp(saved_) == 0) to.resume();
}

void fiber::abandon_for(fiber& to) noexcept { to.resume(); }

}  // namespace troupe::model
