// SPDX-License-Identifier: MIT
// A machine that works for the tests of jobs over Redis: an instrument and a composer. It writes
// down each beginning and each end of a job in a file of its own keeping, which is asked
// afterwards.
//
// redis_job_machine <port of Redis> <file>

#include <fcntl.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string>

#include <troupe.hpp>
#include <troupe/adapter/redis/redis_network.hpp>
#include <troupe/job.hpp>

#include <redis/job_mark.hpp>

namespace redis_tests {

int journal = -1;

void write_down(const std::string& line) {
  const ssize_t written = ::write(journal, line.data(), line.size());
  if (written != static_cast<ssize_t>(line.size())) std::abort();
}

troupe::task<mark::result> mark::operator()(params p, troupe::job_context& ctx) {
  const std::string who = std::to_string(p.number) + ' ' + std::to_string(ctx.fence()) + ' ' +
                          std::to_string(ctx.attempt()) + ' ' + std::to_string(::getpid()) + '\n';
  write_down("begin " + who);
  co_await troupe::sleep_for(std::chrono::microseconds(p.micros));
  write_down("end " + who);
  co_return result_of(p.number);
}

troupe::task<> until_signal() {
  auto waiting = troupe::as_result(troupe::sleep_until(troupe::never));
  static_cast<void>(co_await std::move(waiting));
}

}  // namespace redis_tests

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  redis_tests::journal = ::open(argv[2], O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (redis_tests::journal < 0) return 3;
  troupe::broker broker{troupe::broker_options{.threads = 2}};
  troupe::redis_options options;
  options.port = static_cast<std::uint16_t>(std::atoi(argv[1]));
  options.reconnect.max = std::chrono::milliseconds(100);
  troupe::redis_network net(broker.runs_on(), options);
  troupe::workspace scripts;
  scripts.add<redis_tests::mark>();
  troupe::composer c{net};
  troupe::instrument i{net, scripts, {.workers = 4}};
  broker.run_until_signal(redis_tests::until_signal());
  broker.run(i.drain());  // what it has is still done
}
