// SPDX-License-Identifier: MIT
#pragma once

// A network whose job store is reached over a bad line: requests and replies are lost, by the
// random numbers of the executor, so that a simulation repeats them.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <troupe.hpp>
#include <troupe/net.hpp>

namespace faulty_network_kit {

/// What happens on the line. Set before it is used.
struct faults {
  unsigned lost_requests = 0;  // of a thousand
  unsigned lost_replies = 0;
  unsigned no_memory = 0;                              // of a thousand: `std::bad_alloc` instead
  troupe::duration first_lease = troupe::duration(0);  // of deliveries; zero: as the store gives it
  std::atomic<int> renewed{0};                         // calls that renew
  std::atomic<int> swept{0};
  std::function<void()> on_due;  // called where a composer begins to wait
};

class line {
public:
  line(troupe::executor& on, faults& f) noexcept : on_(on), faults_(f) {}

  void before() {
    if (chance(faults_.no_memory)) throw std::bad_alloc();
    if (chance(faults_.lost_requests)) fail("the request was lost");
  }
  void after() {
    if (chance(faults_.lost_replies)) fail("the reply was lost");
  }
  bool loses_delivery() { return chance(faults_.lost_replies); }
  faults& is() noexcept { return faults_; }

private:
  bool chance(unsigned per_mille) { return per_mille != 0 && on_.random() % 1000 < per_mille; }
  [[noreturn]] static void fail(const char* why) {
    throw troupe::error(troupe::errc::connection_lost, {}, why);
  }

  troupe::executor& on_;
  faults& faults_;
};

/// There and back.
template <class T>
troupe::task<T> over(line& l, troupe::task<T> t) {
  l.before();
  T value = co_await std::move(t);
  l.after();
  co_return value;
}

class taker final : public troupe::job_taker {
public:
  taker(line& l, std::unique_ptr<troupe::job_taker> of) : line_(l), of_(std::move(of)) {}

  const std::string& name() const noexcept override { return of_->name(); }

  /// A delivery that is lost goes to somebody else when its lease is over.
  troupe::task<std::optional<troupe::job_delivery>> take() override {
    for (;;) {
      std::optional<troupe::job_delivery> d = co_await of_->take();
      if (d && line_.loses_delivery()) continue;
      if (d && line_.is().first_lease != troupe::duration(0)) d->lease = line_.is().first_lease;
      co_return d;
    }
  }
  troupe::task<> notice() override {
    line_.before();
    co_await of_->notice();
  }
  troupe::task<std::vector<troupe::job_hold>> renew_all(
      std::vector<troupe::job_claim> jobs) override {
    ++line_.is().renewed;
    return over(line_, of_->renew_all(std::move(jobs)));
  }
  troupe::task<bool> commit(troupe::job_id id, std::uint64_t fence, troupe::job_commit c) override {
    return over(line_, of_->commit(id, fence, std::move(c)));
  }
  bool write(troupe::job_id id, std::uint64_t fence, bool is_progress,
             troupe::shared_bytes body) override {
    return !line_.loses_delivery() && of_->write(id, fence, is_progress, std::move(body));
  }
  void close() noexcept override { of_->close(); }

private:
  line& line_;
  std::unique_ptr<troupe::job_taker> of_;
};

class store final : public troupe::job_store {
public:
  store(line l, troupe::job_store& of) : line_(l), of_(of) {}

  troupe::task<troupe::job_id> add(troupe::job_request r) override {
    return over(line_, of_.add(std::move(r)));
  }
  troupe::task<troupe::job_outcome> run(troupe::job_request r) override {
    return of_.run(std::move(r));
  }
  troupe::task<troupe::job_outcome> settled(troupe::job_id id) override {
    return over(line_, of_.settled(id));
  }
  troupe::task<troupe::job_news> news(troupe::job_id id, std::uint64_t number) override {
    return over(line_, of_.news(id, number));
  }
  troupe::task<std::optional<troupe::job_info>> get(troupe::job_id id) override {
    return over(line_, of_.get(id));
  }
  troupe::task<troupe::job_page> list(troupe::job_state s, std::optional<troupe::job_id> from,
                                      std::size_t most) override {
    return over(line_, of_.list(s, from, most));
  }
  troupe::task<troupe::job_counts> counts() override { return over(line_, of_.counts()); }
  troupe::task<bool> cancel(troupe::job_id id) override { return over(line_, of_.cancel(id)); }
  troupe::task<bool> requeue(troupe::job_id id) override { return over(line_, of_.requeue(id)); }
  troupe::task<bool> purge(troupe::job_id id) override { return over(line_, of_.purge(id)); }
  std::unique_ptr<troupe::job_taker> open_taker(std::string name,
                                                std::vector<troupe::job_script> scripts) override {
    return std::make_unique<taker>(line_, of_.open_taker(std::move(name), std::move(scripts)));
  }
  troupe::task<troupe::time_point> sweep() override {
    ++line_.is().swept;
    return over(line_, of_.sweep());
  }
  troupe::task<> due_before(troupe::time_point t) override {
    if (line_.is().on_due) line_.is().on_due();
    line_.before();
    co_await of_.due_before(t);
    line_.after();
  }

private:
  line line_;
  troupe::job_store& of_;
};

/// `of`, and what happens on the line to it, outlive this.
class faulty_network final : public troupe::network {
public:
  faulty_network(troupe::network& of, faults& f)
      : of_(of), jobs_(line(of.runs_on(), f), of.jobs()) {}

  std::unique_ptr<troupe::network_endpoint> open(std::string address) override {
    return of_.open(std::move(address));
  }
  troupe::task<std::uint64_t> claim(std::string name, std::string holder,
                                    troupe::duration limit) override {
    return of_.claim(std::move(name), std::move(holder), limit);
  }
  troupe::task<> release(std::string name, std::string holder) override {
    return of_.release(std::move(name), std::move(holder));
  }
  troupe::task<std::vector<troupe::network_claim>> claims(std::string prefix) override {
    return of_.claims(std::move(prefix));
  }
  troupe::job_store& jobs() override { return jobs_; }
  troupe::executor& runs_on() noexcept override { return of_.runs_on(); }

private:
  troupe::network& of_;
  store jobs_;
};

}  // namespace faulty_network_kit
