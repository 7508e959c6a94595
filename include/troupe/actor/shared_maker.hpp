// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The maker of instances that several classes share: an object of each class, with one life.
///
/// Layer: actor.

#include <cstddef>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe/actor/actor_class.hpp>
#include <troupe/actor/context.hpp>
#include <troupe/actor/options.hpp>
#include <troupe/base/put_off.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/task.hpp>

namespace troupe::detail {

/// What calls of a class concern is its object alone. Which hooks the objects have is known only
/// when they are made, so it says that there are some: its workers always take the longer path of
/// a call, where the object is looked up.
template <class Lazy = void>
class shared_maker final : public maker {
public:
  shared_maker(std::vector<put_off<actor_class*, Lazy>> classes, const actor_options& o)
      : classes_(std::move(classes)) {
    options = o;
    has_start = true;
    has_stop = true;
    has_call_hooks = true;
    has_after_call = true;
    for (const actor_class* const c : classes_) {
      if (!name_.empty()) name_ += '+';
      name_ += c->name;
    }
  }

  /// The names of all classes; as long-lived as this.
  std::string_view name() const noexcept { return name_; }

  inline void* make(context& ctx) const override;
  void destroy(void* instance) const noexcept override { delete &parts_of(instance); }

  task<> start(void* instance) const override {
    const parts& all = parts_of(instance);
    for (std::size_t i = 0; i != all.size(); ++i) {
      task<> steps = all[i].made_by->start(all[i].object);
      if (steps) return start_from(all, i + 1, std::move(steps));
    }
    return {};
  }
  task<> stop(void* instance) const override { return stop_all(parts_of(instance)); }

  void before(void*, const call_info&) const override {}  // those of the parts are called
  void after(void*, const call_info&) const noexcept override {}

  instance_part part(void* instance, const void* tag) const noexcept override {
    const parts& all = parts_of(instance);
    std::size_t i = 0;
    while (i != all.size() && classes_[i]->tag != tag) ++i;
    TROUPE_ASSERT(i != all.size(), "a call of a class that does not share this worker");
    return all[i];
  }

private:
  /// An instance: the objects in the order of the classes.
  class parts : public std::vector<put_off<instance_part, Lazy>> {
  public:
    parts() = default;
    parts(const parts&) = delete;
    parts& operator=(const parts&) = delete;
    ~parts() {
      for (; !this->empty(); this->pop_back()) {
        this->back().made_by->destroy(this->back().object);
      }
    }
  };
  static parts& parts_of(void* instance) noexcept { return *static_cast<parts*>(instance); }

  static task<> start_from(const parts& all, std::size_t next, task<> begun);
  static task<> stop_all(const parts& all);

  std::vector<put_off<actor_class*, Lazy>> classes_;
  std::string name_;
};

template <class Lazy>
inline void* shared_maker<Lazy>::make(context& ctx) const {
  auto made = std::make_unique<parts>();
  made->reserve(classes_.size());
  for (const actor_class* const c : classes_) {
    const maker& m = c->current.load(order::acquire)->choose(ctx.key());
    made->push_back({&m, m.make(ctx)});
  }
  return made.release();
}

/// The rest of the hooks, after the first that awaits something.
template <class Lazy>
inline task<> shared_maker<Lazy>::start_from(const parts& all, std::size_t next, task<> begun) {
  co_await std::move(begun);
  for (; next != all.size(); ++next) {
    task<> steps = all[next].made_by->start(all[next].object);
    if (steps) co_await std::move(steps);
  }
}

/// In reverse order; all of them, whatever some throw. The first error comes out.
template <class Lazy>
inline task<> shared_maker<Lazy>::stop_all(const parts& all) {
  std::exception_ptr failed;
  for (std::size_t i = all.size(); i-- != 0;) {
    try {
      task<> steps = all[i].made_by->stop(all[i].object);
      if (steps) co_await std::move(steps);
    } catch (...) {
      if (!failed) failed = std::current_exception();
    }
  }
  if (failed) std::rethrow_exception(failed);
}

}  // namespace troupe::detail
