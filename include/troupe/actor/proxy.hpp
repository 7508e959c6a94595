// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `proxy<A>`: the typed name of a worker.
///
/// Layer: actor. Copying is one atomic increment.

#include <concepts>
#include <string_view>
#include <type_traits>
#include <utility>

#include <troupe/actor/call.hpp>
#include <troupe/actor/cell.hpp>
#include <troupe/actor/invocation.hpp>
#include <troupe/actor/maker_of.hpp>
#include <troupe/actor/tell.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/base/worker_id.hpp>
#include <troupe/config.hpp>

namespace troupe {

/// The methods of `A` by name; specialised by `TROUPE_METHODS`.
template <class A>
struct methods {
  template <class Target>
  class troupe_on {
    static_assert(!std::is_same_v<Target, Target>,
                  "troupe: -> needs TROUPE_METHODS(class, its methods...) at global scope, and "
                  "before this place; without it, say proxy.call<&class::method>(...)");
  };
};

namespace detail {

/// Base of the methods of `A` by name, on the worker that `Target` holds. What users' methods
/// inherit from here bears names that theirs will not.
template <class A, class Target>
class methods_base {
public:
  explicit methods_base(Target target) noexcept : troupe_target_(std::move(target)) {}

protected:
  template <auto M, class... Args>
  auto troupe_make(Args&&... args) {
    return make_call<M, A>(std::move(troupe_target_), std::forward<Args>(args)...);
  }

private:
  Target troupe_target_;
};

/// What `proxy->` gives: the methods by name, on one worker.
template <class A, class Target>
class arrow : public methods<A>::template troupe_on<Target> {
public:
  explicit arrow(Target target) noexcept
      : methods<A>::template troupe_on<Target>(std::move(target)) {}
  arrow* operator->() noexcept { return this; }
};

/// For the parts of the library that need what is behind a proxy.
struct proxy_access {
  template <class A>
  static cell& cell_of(const proxy<A>& p) noexcept {
    return p.cell();
  }
};

template <auto M, class A, class... Args>
bool make_tell(cell& target, Args&&... args) {
  if constexpr (check_call<M, A, Args...>()) {
    using owning = invocation_for<M, A, true, Args...>;
    return new_tell(target, owning(std::in_place, std::forward<Args>(args)...))->send();
  } else {
    return false;
  }
}

}  // namespace detail

/// One method of one worker, as a callable.
template <auto M, class A>
class function_proxy {
public:
  /// For the library.
  explicit function_proxy(intrusive_ptr<detail::cell> c) noexcept : cell_(std::move(c)) {}

  /// Makes the call; it starts when it is awaited.
  template <class... Args>
  auto operator()(Args&&... args) const& {
    return detail::make_call<M, A>(detail::borrowed_cell(cell_.get()), std::forward<Args>(args)...);
  }
  template <class... Args>
  auto operator()(Args&&... args) && {
    return detail::make_call<M, A>(detail::counted_cell(std::move(cell_)),
                                   std::forward<Args>(args)...);
  }

  /// One way; false: not queued.
  template <class... Args>
  bool tell(Args&&... args) const {
    return detail::make_tell<M, A>(*cell_, std::forward<Args>(args)...);
  }

private:
  intrusive_ptr<detail::cell> cell_;
};

/// Names a worker: a class and a key. The worker is created by the first call, and again by the
/// first call after it was closed.
///
/// `A` may be incomplete until a method is called. Calls borrow the proxy they were made by.
///
/// Thread safety: one proxy may be used by many threads at once; assigning to it is no such use.
template <class A>
class proxy {
public:
  using actor_type = A;

  /// Names nobody; using it is a broken precondition.
  proxy() noexcept = default;
  /// For the library.
  explicit proxy(intrusive_ptr<detail::cell> c) noexcept : cell_(std::move(c)) {}

  /// False if it names nobody.
  explicit operator bool() const noexcept { return static_cast<bool>(cell_); }

  /// Whom it names.
  [[nodiscard]] worker_id id() const { return cell().id(); }
  [[nodiscard]] std::string_view key() const { return cell().key(); }

  /// The methods named in `TROUPE_METHODS`.
  template <class B = A>
  detail::arrow<B, detail::borrowed_cell> operator->() const& {
    return detail::arrow<B, detail::borrowed_cell>(detail::borrowed_cell(&cell()));
  }
  template <class B = A>
  detail::arrow<B, detail::counted_cell> operator->() && {
    return detail::arrow<B, detail::counted_cell>(detail::counted_cell(std::move(cell_)));
  }

  /// Calls method `M`: `co_await p.call<&A::m>(...)`.
  template <auto M, class... Args>
  auto call(Args&&... args) const& {
    return detail::make_call<M, A>(detail::borrowed_cell(&cell()), std::forward<Args>(args)...);
  }
  template <auto M, class... Args>
  auto call(Args&&... args) && {
    return detail::make_call<M, A>(detail::counted_cell(std::move(cell_)),
                                   std::forward<Args>(args)...);
  }

  /// Calls method `M` one way: nobody waits, and the arguments are owned. False: it was not queued,
  /// and is a dead letter.
  template <auto M, class... Args>
  bool tell(Args&&... args) const {
    return detail::make_tell<M, A>(cell(), std::forward<Args>(args)...);
  }

  /// One of its methods, as a callable.
  template <auto M>
  [[nodiscard]] function_proxy<M, A> function() const {
    return function_proxy<M, A>(cell_);
  }

  friend bool operator==(const proxy& a, const proxy& b) noexcept {
    return a.cell_.get() == b.cell_.get();
  }

private:
  friend detail::proxy_access;

  detail::cell& cell() const noexcept {
    TROUPE_ASSERT(cell_, "this proxy names no worker: it is default-constructed or moved from");
    return *cell_;
  }

  intrusive_ptr<detail::cell> cell_;
};

template <class B>
proxy<B> context::worker(std::string_view key) {
  return proxy<B>(cell_->owner().cell_for(detail::request_for<B>(), key));
}

template <class A>
proxy<A> context::self() {
  TROUPE_ASSERT(cell_->type().stands_for(detail::tag_of<A>()),
                "context::self<A>() names another class than this worker's");
  return proxy<A>(intrusive_ptr<detail::cell>(cell_));
}

}  // namespace troupe
