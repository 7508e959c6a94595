// SPDX-License-Identifier: MIT
// expect: job_options'
// A list of mere values is meant as params: it does not become the first of the options.
#include <troupe.hpp>
#include <troupe/job.hpp>

struct twice {
  using params = int;
  using result = int;
  int operator()(int n) { return n * 2; }
};

troupe::task<troupe::job_id> f(troupe::client& jobs) {
#ifdef CORRECT
  auto queued = jobs.queue<twice>({.priority = 5}, 1);
#else
  auto queued = jobs.queue<twice>({5});
#endif
  co_return co_await std::move(queued);
}
