// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `cleaner`: the policy that decides which workers go.
///
/// Layer: broker. Holds any callable that takes a `const worker_event&`.

#include <concepts>
#include <memory>
#include <type_traits>
#include <utility>

#include <troupe/broker/worker_event.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {

/// A callable that is told of all workers of a broker and closes some, by `event.broker->evict`.
///
/// It is called by one thread at a time, with the events of each worker in their order, and never
/// with a lock held; events that it brings about itself come after it has returned. What it throws
/// is dropped.
///
/// Two members of the callable are optional. `static constexpr bool wants_get = false`: it is not
/// sent `get`, which costs every call a little. `duration look(broker&)`: called after each event
/// and then again after the time it returns (`endless`: with the next event).
class cleaner {
public:
  cleaner() noexcept = default;

  template <class F>
    requires(!std::same_as<std::remove_cvref_t<F>, cleaner> &&
             std::invocable<std::decay_t<F>&, const worker_event&>)
  cleaner(F&& callable)
      : held_(std::make_shared<holder<std::decay_t<F>>>(std::forward<F>(callable))) {}

  /// False if it holds nothing.
  explicit operator bool() const noexcept { return held_ != nullptr; }

  /// For the library, and for those that combine cleaners.
  void operator()(const worker_event& event) { held_->handle(event); }
  duration look(broker& b) { return held_->look(b); }
  [[nodiscard]] bool wants_get() const noexcept { return held_ != nullptr && held_->wants_get(); }

private:
  class base {
  public:
    virtual ~base() = default;
    virtual void handle(const worker_event& event) = 0;
    virtual duration look(broker& b) = 0;
    virtual bool wants_get() const noexcept = 0;
  };

  template <class F>
  class holder final : public base {
  public:
    template <class G>
    explicit holder(G&& callable) : callable_(std::forward<G>(callable)) {}

    void handle(const worker_event& event) override { callable_(event); }
    duration look([[maybe_unused]] broker& b) override {
      if constexpr (requires {
                      { callable_.look(b) } -> std::convertible_to<duration>;
                    }) {
        return callable_.look(b);
      } else {
        return endless;
      }
    }
    bool wants_get() const noexcept override {
      if constexpr (requires {
                      { F::wants_get } -> std::convertible_to<bool>;
                    }) {
        return F::wants_get;
      } else if constexpr (requires {
                             { callable_.wants_get() } -> std::convertible_to<bool>;
                           }) {
        return callable_.wants_get();
      } else {
        return true;
      }
    }

  private:
    F callable_;
  };

  std::shared_ptr<base> held_;
};

}  // namespace troupe
