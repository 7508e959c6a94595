// SPDX-License-Identifier: MIT
// troupe-jobs: looks at the jobs of a network, and changes them.
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <troupe.hpp>
#include <troupe/job.hpp>

#include "commands.hpp"
#include "demo.hpp"

#ifdef TROUPE_JOBS_REDIS
#  include <troupe/adapter/redis/redis.hpp>
#endif

namespace {

using job_tool::commands;

/// What the command line wants: where, and what.
struct wishes {
  std::string network = "redis://127.0.0.1:6379";
  std::string name = "troupe";
  bool is_demo = false;
  bool accepts_volatile = false;
  std::function<troupe::task<bool>(commands&)> what;

  job_tool::list_wishes list;
  job_tool::add_wishes add;
  std::vector<std::string> ids;
  std::string of_state;
  std::string name_of_schedule;
  std::size_t most = 50;
  std::uint64_t times = 0;
  std::string pause = "1s";
};

constexpr const char* examples = R"(Examples:
  troupe-jobs stats
  troupe-jobs list --state active
  troupe-jobs dead                          why they have failed
  troupe-jobs retry --all                   all that are dead wait again
  troupe-jobs show 263882790641-16777216    everything about one
  troupe-jobs watch 263882790641-16777216   its progress, until it has ended
  troupe-jobs add add --like 263882790641-16777216 --priority 5
  troupe-jobs --demo list --state completed

The network is --network, else TROUPE_NETWORK of the environment.
Ends with 0; 1 where something was not as asked; 2 where the command line or the network is wrong.)";

using handler = troupe::task<bool> (*)(commands&, const wishes&);

void on(CLI::App& sub, wishes& w, handler h) {
  sub.callback([&w, h] { w.what = [&w, h](commands& c) { return h(c, w); }; });
}

void add_looking(CLI::App& app, wishes& w) {
  CLI::App* const list = app.add_subcommand("list", "Jobs in one state, in the order they came");
  list->add_option("--state,-s", w.list.state,
                   "waiting, delayed, active, completed, dead, cancelled")
      ->capture_default_str();
  list->add_option("--script", w.list.script, "only jobs of this script");
  list->add_option("--limit,-n", w.list.most, "at most so many")->capture_default_str();
  list->add_option("--from", w.list.from, "from this job on, as the page before has said");
  on(*list, w, [](commands& c, const wishes& is) { return c.list(is.list); });

  CLI::App* const show = app.add_subcommand("show", "Everything about one job");
  show->add_option("job", w.ids, "its id")->required()->expected(1);
  on(*show, w, [](commands& c, const wishes& is) { return c.show(is.ids.at(0)); });

  CLI::App* const dead = app.add_subcommand("dead", "Jobs that have failed for good, and why");
  dead->add_option("--limit,-n", w.most, "at most so many")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  on(*dead, w, [](commands& c, const wishes& is) { return c.dead(is.most); });

  CLI::App* const stats = app.add_subcommand("stats", "How many jobs there are in each state");
  on(*stats, w, [](commands& c, const wishes&) { return c.stats(); });

  CLI::App* const watch =
      app.add_subcommand("watch", "Follow a job until it ends (0: it has a result), or the counts");
  watch->add_option("job", w.ids, "its id; none: how many there are in each state")->expected(0, 1);
  watch->add_option("--every", w.pause, "time between two counts")->capture_default_str();
  watch->add_option("--times", w.times, "so many counts; 0: until Ctrl-C")->capture_default_str();
  on(*watch, w, [](commands& c, const wishes& is) {
    if (!is.ids.empty()) return c.watch(is.ids[0]);
    return c.watch_all(is.times, job_tool::read_duration(is.pause));
  });
}

void add_adding(CLI::App& app, wishes& w) {
  CLI::App* const add = app.add_subcommand(
      "add",
      "Add a job; prints its id. What its params mean only its script knows, for they are bytes of "
      "troupe's codec: give them as hex digits, as a file, or take those of another job. To make "
      "them of values takes a program that has the script, with a troupe::client.");
  job_tool::add_wishes& a = w.add;
  add->add_option("script", a.script, "its name")->required();
  add->add_option("--script-version", a.version, "of the script")->capture_default_str();
  CLI::Option* const params =
      add->add_option("--params", a.params, "as hex digits, or @ and a file of the bytes");
  add->add_option("--like", a.like, "a job that has such params")->excludes(params);
  add->add_flag("--ahead", a.ahead, "before all that are not");
  add->add_option("--priority", a.priority, "the higher, the sooner")->capture_default_str();
  add->add_option("--delay", a.delay, "before it may start")->capture_default_str();
  add->add_option("--attempts", a.attempts, "so often it may fail")->capture_default_str();
  add->add_option("--time-limit", a.time_limit, "of an attempt")->capture_default_str();
  add->add_option("--lease", a.lease, "who is silent so long has lost it")->capture_default_str();
  add->add_option("--keep", a.keep, "how long its end is known")->capture_default_str();
  add->add_option("--once", a.once, "idempotency key: while a job has it, it is that one");
  CLI::Option* const key = add->add_option("--key", a.key, "concurrency key: whose it is");
  add->add_option("--together", a.together, "so many of this key at once; 0: any number")
      ->needs(key)
      ->capture_default_str();
  on(*add, w, [](commands& c, const wishes& is) { return c.add(is.add); });
}

/// Of the jobs that are named, or of all in a state.
using many = troupe::task<bool> (commands::*)(std::vector<std::string>);

troupe::task<bool> apply(commands& c, const wishes& w, many what) {
  std::vector<std::string> ids = w.ids;
  if (!w.of_state.empty()) ids = co_await c.all_in(w.of_state);
  auto changing = (c.*what)(std::move(ids));
  co_return co_await std::move(changing);
}

CLI::Option_group& add_which(CLI::App& sub, wishes& w) {
  CLI::Option_group* const which = sub.add_option_group("which");
  which->add_option("jobs", w.ids, "their ids");
  which->require_option(1);
  return *which;
}

void add_changing(CLI::App& app, wishes& w) {
  CLI::App* const cancel = app.add_subcommand(
      "cancel", "One that waits ends now, one that runs is asked to stop; a schedule's ends it");
  static_cast<void>(add_which(*cancel, w));
  on(*cancel, w, [](commands& c, const wishes& is) { return apply(c, is, &commands::cancel); });

  CLI::App* const retry =
      app.add_subcommand("retry", "Jobs that are dead wait again, as if they were new");
  add_which(*retry, w).add_flag_callback("--all", [&w] { w.of_state = "dead"; }, "all that are");
  on(*retry, w, [](commands& c, const wishes& is) { return apply(c, is, &commands::retry); });

  CLI::App* const purge = app.add_subcommand("purge", "Forget jobs that have ended");
  add_which(*purge, w).add_option("--state", w.of_state,
                                  "all of those that are completed, dead or cancelled");
  on(*purge, w, [](commands& c, const wishes& is) { return apply(c, is, &commands::purge); });
}

void add_schedules(CLI::App& app, wishes& w) {
  CLI::App* const schedules = app.add_subcommand("schedules", "What the calendar adds");
  on(*schedules, w, [](commands& c, const wishes&) { return c.schedules(); });
  CLI::App* const end = app.add_subcommand("unschedule", "End a schedule");
  end->add_option("name", w.name_of_schedule, "of the schedule")->required();
  on(*end, w, [](commands& c, const wishes& is) { return c.unschedule(is.name_of_schedule); });
}

#ifdef TROUPE_JOBS_REDIS
std::unique_ptr<troupe::network> open_network(troupe::executor& on_it, const wishes& w) {
  troupe::redis_options options = troupe::redis_options::parse(w.network);
  options.name = w.name;
  options.client_name = "troupe-jobs";
  options.accept_volatile = w.accepts_volatile;
  auto net = std::make_unique<troupe::redis_network>(on_it, options);
  troupe::sync_wait(net->ready());
  return net;
}
#else
std::unique_ptr<troupe::network> open_network(troupe::executor&, const wishes&) {
  throw std::invalid_argument("this troupe-jobs was built without Redis: there is only --demo");
}
#endif

bool run(const wishes& w) {
  troupe::broker broker;
  std::unique_ptr<troupe::network> net;
  std::optional<job_tool::demo> demo;
  if (w.is_demo) {
    demo.emplace(broker.runs_on());
    broker.run(demo->fill());
  } else {
    net = open_network(broker.runs_on(), w);
  }
  commands c(demo ? demo->net() : *net, std::cout);
  try {
    return broker.run_until_signal(w.what(c));
  } catch (const troupe::error& e) {
    if (e.code() == troupe::errc::cancelled) return true;  // that was Ctrl-C
    throw;
  }
}

}  // namespace

int main(int argc, char** argv) {
  wishes w;
  CLI::App app("Looks at the jobs of a network, and changes them.", "troupe-jobs");
  app.footer(examples);
  app.require_subcommand(1);
  app.add_option("--network", w.network, "redis://[[user:]password@]host[:port][/db], or rediss:")
      ->envname("TROUPE_NETWORK")
      ->capture_default_str();
  app.add_option("--name", w.name, "of the network on that server")->capture_default_str();
  app.add_flag("--volatile", w.accepts_volatile, "also a server that may forget what it was told");
  app.add_flag("--demo", w.is_demo, "a network in memory with some jobs, made for this command");
  add_looking(app, w);
  add_adding(app, w);
  add_changing(app, w);
  add_schedules(app, w);
  try {
    app.parse(argc, argv);
    return run(w) ? 0 : 1;
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  } catch (const std::exception& e) {
    std::cerr << "troupe-jobs: " << e.what() << '\n';
    return 2;
  }
}
