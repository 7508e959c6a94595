// SPDX-License-Identifier: MIT
// What test1 and test2 share is this source. At run time they share nothing: each module, and each
// key of it, is a process of its own.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include <troupe/adapter/json/json.hpp>
#include <troupe/adapter/web/web_reply.hpp>

#include <troupe.hpp>
#include <troupe/function/module.hpp>

namespace app {

using query = std::map<std::string, std::string>;

inline std::string global;  // of the process

/// `?set=foo` sets it; in any case it is shown.
inline troupe::web_reply show(std::string& variable, const query& q) {
  const auto set = q.find("set");
  if (set != q.end()) variable = set->second;
  return troupe::web_reply::text(200, variable);
}

/// A module that keeps something.
class keeper {
public:
  explicit keeper(std::string_view name) : state_(name) {
    if (global.empty()) global = name;
  }

  troupe::web_reply state(const query& q) { return show(state_, q); }
  troupe::web_reply global_state(const query& q) { return show(global, q); }

private:
  std::string state_;
};

}  // namespace app
