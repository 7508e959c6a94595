// SPDX-License-Identifier: MIT
// expect: troupe: within() and tell() own their arguments, and this one can be neither
// What stays with its caller and cannot be copied is not for a call that owns.
#include <chrono>
#include <memory>
#include <troupe.hpp>
#include <utility>

struct target {
  void look(const std::unique_ptr<int>&) {}
};

troupe::task<> f(troupe::proxy<target> p, std::unique_ptr<int>& mine) {
#ifdef CORRECT
  co_await p.call<&target::look>(std::move(mine)).within(std::chrono::seconds(1));
#else
  co_await p.call<&target::look>(mine).within(std::chrono::seconds(1));
#endif
}
