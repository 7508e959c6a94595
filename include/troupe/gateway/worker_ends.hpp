// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Workers of shards that are about to go, so that one of the same name waits for their end.
///
/// Layer: gateway.

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include <troupe/coro/async_semaphore.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

/// By the worker's key, or by another name. Outlives its tickets.
///
/// Thread safety: all members from any thread.
class worker_ends {
  struct ending {
    std::size_t many = 0;
    std::shared_ptr<async_semaphore> over;  // a permit, once none of them is left
  };
  using endings = std::map<std::string, ending>;

public:
  /// A worker of this key is going, for as long as it lives.
  class ticket {
  public:
    ticket(worker_ends& all, std::string key) : all_(&all), at_(all.begin(std::move(key))) {}
    ticket(ticket&& other) noexcept : all_(std::exchange(other.all_, nullptr)), at_(other.at_) {}
    ticket& operator=(ticket&&) = delete;
    ~ticket() {
      if (all_ != nullptr) all_->end(at_);
    }

  private:
    worker_ends* all_;  // nobody: it was moved from
    endings::iterator at_;
  };

  /// Until no worker of this key is going.
  task<> wait(std::string key) {
    for (;;) {
      const std::shared_ptr<async_semaphore> over = find(key);
      if (!over) co_return;
      co_await over->acquire();
      over->release();  // for whoever waits as well
    }
  }

private:
  endings::iterator begin(std::string key) {
    endings fresh;
    fresh.emplace(std::move(key), ending{0, std::make_shared<async_semaphore>(0)});
    auto node = fresh.extract(fresh.begin());
    endings::insert_return_type put;  // what is not needed goes behind the lock
    const spin_guard guard(lock_);
    put = going_.insert(std::move(node));
    ++put.position->second.many;
    return put.position;
  }

  void end(endings::iterator at) noexcept {
    endings::node_type ended;
    {
      const spin_guard guard(lock_);
      if (--at->second.many == 0) ended = going_.extract(at);
    }
    if (ended) ended.mapped().over->release();
  }

  std::shared_ptr<async_semaphore> find(const std::string& key) const noexcept {
    const spin_guard guard(lock_);
    const auto at = going_.find(key);
    return at == going_.end() ? nullptr : at->second.over;
  }

  mutable spin_lock lock_;
  endings going_;  // guarded by `lock_`
};

}  // namespace troupe::detail
