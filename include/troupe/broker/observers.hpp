// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `observers`: several observers as one.
///
/// Layer: broker.

#include <initializer_list>
#include <vector>

#include <troupe/broker/observer.hpp>

namespace troupe {

/// Several observers of one broker: `observers all{&a, &b};`, then `.observe = &all`. All of them
/// outlive the broker.
///
/// `before_call` goes through them in this order, and the first that throws refuses the call: those
/// behind it do not see it begin. `after_call` goes back, in the opposite order, through those that
/// have seen it begin, the one that refused included. All else is told to all, in this order.
class observers final : public observer {
public:
  observers(std::initializer_list<observer*> parts) : parts_(parts) {}

private:
  void list(std::vector<observer*>& all) override {
    for (observer* const part : parts_) part->list(all);
  }

  std::vector<observer*> parts_;
};

}  // namespace troupe
