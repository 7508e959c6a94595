// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `redis_job_waits`: who waits in this process for something to become of jobs.
///
/// Layer: adapter. Guarded by the lock of the store.

#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <troupe/adapter/redis/redis_job_ask.hpp>
#include <troupe/base/error.hpp>
#include <troupe/coro/wait_list.hpp>
#include <troupe/net/job_store.hpp>

namespace troupe::detail {

/// Thread safety: none but by the lock.
class redis_job_waits {
public:
  [[nodiscard]] bool empty() const noexcept { return all_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return all_.size(); }

  void add(std::uint64_t job, const redis_job_ask_ptr& a) {
    a->job = job;
    all_.emplace(job, a);
  }

  /// It waits no more, if it has.
  void remove(const redis_job_ask_ptr& a) noexcept {
    if (a->job == 0) return;
    for (auto [at, end] = all_.equal_range(a->job); at != end; ++at) {
      if (at->second.get() != a.get()) continue;
      all_.erase(at);
      return;
    }
  }

  /// False: nobody has waited for this one.
  template <class Settle>
  bool settle(std::uint64_t job, Settle settle) {
    const auto [first, last] = all_.equal_range(job);
    if (first == last) return false;
    for (auto at = first; at != last; ++at) settle(*at->second);
    all_.erase(first, last);
    return true;
  }

  void fail_all(errc code, const std::string& why, served_queue& served) {
    for (const auto& [job, a] : all_) a->fail(code, why, served);
    all_.clear();
  }

  void settle_all(served_queue& served) noexcept {
    for (const auto& [job, a] : all_) a->settle('w', 0, served);
    all_.clear();
  }

  /// Puts all jobs into `to`, which has room for them.
  void jobs(std::vector<std::uint64_t>& to) const {
    for (const auto& [job, a] : all_) to.push_back(job);
  }

private:
  std::unordered_multimap<std::uint64_t, redis_job_ask_ptr> all_;
};

}  // namespace troupe::detail
