// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Stores of jobs in one Redis, as so many processes have them.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <troupe.hpp>
#include <troupe/adapter/redis/redis_job_store.hpp>
#include <troupe/net.hpp>

#include "redis_server.hpp"

namespace redis_tests {

inline troupe::redis_options job_options(std::uint16_t port) {
  using namespace std::chrono_literals;
  troupe::redis_options o;
  o.port = port;
  o.reconnect.max = 200ms;
  o.command_limit = 20s;
  o.accept_volatile = true;
  return o;
}

/// What one process has: a broker, a link and a store.
struct job_process {
  explicit job_process(const troupe::redis_options& o,
                       const troupe::detail::redis_job_limits& limits = {})
      : link(broker.runs_on(), o), store(broker.runs_on(), link, limits) {}
  explicit job_process(std::uint16_t port) : job_process(job_options(port)) {}

  template <class T>
  T run(troupe::task<T> t) {
    return broker.run(std::move(t));
  }
  std::unique_ptr<troupe::job_taker> taker(std::string name = "one",
                                           std::vector<troupe::job_script> scripts = {{"a", 1}}) {
    return store.open_taker(std::move(name), std::move(scripts));
  }
  troupe::job_id add(troupe::job_request r) { return run(store.add(std::move(r))); }
  troupe::job_delivery take(troupe::job_taker& t) { return *run(t.take()); }
  bool commit(troupe::job_taker& t, const troupe::job_delivery& d, troupe::job_commit c = {}) {
    return run(t.commit(d.id, d.fence, std::move(c)));
  }
  std::optional<troupe::job_info> info(troupe::job_id id) { return run(store.get(id)); }

  template <class T>
  troupe::errc code_of(troupe::task<T> t) {
    return static_cast<troupe::errc>(run(troupe::as_result(std::move(t))).code().value());
  }

  troupe::broker broker{troupe::broker_options{.threads = 2}};
  troupe::detail::redis_link link;
  troupe::detail::redis_job_store store;
};

inline troupe::job_request job(std::string params = {}, std::string script = "a") {
  troupe::job_request r;
  r.script = std::move(script);
  r.params = troupe::shared_bytes(std::move(params));
  return r;
}
inline troupe::job_commit job_result(std::string text) {
  troupe::job_commit c;
  c.result = troupe::shared_bytes(std::move(text));
  return c;
}
inline troupe::job_commit job_end(troupe::job_commit::kind_of kind, troupe::duration after = {}) {
  troupe::job_commit c;
  c.kind = kind;
  c.after = after;
  troupe::job_error why;
  why.type = "a type";
  why.text = "no";
  why.reason = "a reason";
  c.error = std::make_shared<const troupe::job_error>(std::move(why));
  return c;
}

}  // namespace redis_tests
