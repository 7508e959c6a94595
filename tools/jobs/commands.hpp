// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What can be asked of the jobs of a network, whatever it is, and how that is shown.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iomanip>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe.hpp>
#include <troupe/job.hpp>

#include "text.hpp"

namespace job_tool {

/// Throws `std::invalid_argument`.
inline troupe::job_id read_id(const std::string& text) {
  const std::optional<troupe::job_id> id = troupe::parse_job_id(text);
  if (!id) throw std::invalid_argument(shown(text) + " is no job: one is like 12345-678");
  return *id;
}

inline troupe::job_state read_state(const std::string& text) {
  for (std::size_t i = 0; i != troupe::job_state_count; ++i) {
    const auto state = static_cast<troupe::job_state>(i);
    if (to_string(state) == text) return state;
  }
  throw std::invalid_argument(
      shown(text) + " is no state: waiting, delayed, active, completed, dead or cancelled");
}

struct list_wishes {
  std::string state = "waiting";
  std::string script;  ///< Empty: of any.
  std::size_t most = 50;
  std::string from;
};

struct add_wishes {
  std::string script;
  std::uint32_t version = 1;
  std::string params;  ///< Hex digits, or `@` and a file.
  std::string like;    ///< A job that has them.
  bool ahead = false;
  std::int32_t priority = 0;
  std::string delay = "0s";
  std::uint32_t attempts = 1;
  std::string time_limit = "10m";
  std::string lease = "30s";
  std::string keep = "1h";
  std::string once;
  std::string key;
  std::uint32_t together = 0;
};

/// Each command says whether all it was asked for was so.
class commands {
public:
  commands(troupe::network& net, std::ostream& out)
      : store_(net.jobs()), on_(net.runs_on()), jobs_(net, troupe::workspace()), out_(out) {}

  troupe::task<bool> list(list_wishes w) {
    const troupe::job_state state = read_state(w.state);
    std::optional<troupe::job_id> from;
    if (!w.from.empty()) from = read_id(w.from);
    head();
    std::size_t shown_jobs = 0;
    do {
      const troupe::job_page page = co_await store_.list(state, from, page_size);
      from = page.next;
      for (const troupe::job_info& job : page.jobs) {
        if (!w.script.empty() && job.request->script != w.script) continue;
        if (shown_jobs++ == w.most) {
          out_ << "more: --from " << to_string(job.id) << '\n';
          co_return true;
        }
        line(job);
      }
    } while (from);
    co_return true;
  }

  troupe::task<bool> show(std::string text) {
    const std::optional<troupe::job_info> job = co_await find(text);
    if (job) describe(*job);
    co_return job.has_value();
  }

  troupe::task<bool> add(add_wishes w) {
    troupe::job_request r;
    r.script = w.script;
    r.version = w.version;
    if (!w.like.empty()) {
      const std::optional<troupe::job_info> other = co_await find(w.like);
      if (!other) co_return false;
      r.params = other->request->params;
    } else {
      r.params = read_bytes(w.params);
    }
    r.ahead = w.ahead;
    r.priority = w.priority;
    r.delay = read_duration(w.delay);
    r.attempts = w.attempts;
    r.time_limit = read_duration(w.time_limit);
    r.lease = read_duration(w.lease);
    r.keep = read_duration(w.keep);
    r.once = w.once;
    r.key = w.key;
    r.together = w.together;
    auto adding = store_.add(std::move(r));
    const troupe::job_id id = co_await std::move(adding);
    out_ << to_string(id) << '\n';
    co_return true;
  }

  troupe::task<bool> cancel(std::vector<std::string> ids) {
    return each(std::move(ids), &troupe::job_store::cancel, "cancelled", "had ended");
  }
  troupe::task<bool> retry(std::vector<std::string> ids) {
    return each(std::move(ids), &troupe::job_store::requeue, "waits again", "is not dead");
  }
  troupe::task<bool> purge(std::vector<std::string> ids) {
    return each(std::move(ids), &troupe::job_store::purge, "forgotten", "has not ended");
  }

  /// Those that are in `state` now.
  troupe::task<std::vector<std::string>> all_in(std::string state) {
    std::vector<std::string> ids;
    const troupe::job_state in = read_state(state);
    std::optional<troupe::job_id> from;
    do {
      const troupe::job_page page = co_await store_.list(in, from, page_size);
      from = page.next;
      for (const troupe::job_info& job : page.jobs) ids.push_back(to_string(job.id));
    } while (from);
    co_return ids;
  }

  troupe::task<bool> dead(std::size_t most) {
    const troupe::job_page page = co_await jobs_.dead(std::nullopt, most);
    for (const troupe::job_info& job : page.jobs) {
      out_ << to_string(job.id) << ' ' << shown(job.request->script) << ": ";
      error_line(job);
    }
    if (page.next) out_ << "and more\n";
    co_return true;
  }

  troupe::task<bool> stats() {
    const troupe::job_counts counts = co_await store_.counts();
    for (std::size_t i = 0; i != troupe::job_state_count; ++i) {
      out_ << std::left << std::setw(10) << to_string(static_cast<troupe::job_state>(i))
           << std::right << std::setw(10) << counts.of[i] << '\n';
    }
    co_return true;
  }

  /// A line a second, `times` times; 0: until it is stopped.
  troupe::task<bool> watch_all(std::uint64_t times, troupe::duration pause) {
    for (std::uint64_t i = 0; times == 0 || i != times; ++i) {
      if (i != 0) co_await troupe::sleep_for(pause);
      const troupe::job_counts counts = co_await store_.counts();
      for (std::size_t k = 0; k != troupe::job_state_count; ++k) {
        out_ << to_string(static_cast<troupe::job_state>(k)) << ' ' << counts.of[k]
             << (k + 1 == troupe::job_state_count ? "\n" : "  ");
      }
      out_.flush();
    }
    co_return true;
  }

  /// Until it has ended; true: with a result.
  troupe::task<bool> watch(std::string text) {
    const troupe::job_id id = read_id(text);
    troupe::job_news news;
    std::optional<troupe::job_state> before;
    do {
      auto asking = store_.news(id, news.number);
      news = co_await std::move(asking);
      for (const troupe::job_piece& p : news.output) out_ << told(p.body) << '\n';
      if (news.progress) out_ << "progress " << told(*news.progress) << '\n';
      if (news.state != before) out_ << to_string(news.state) << '\n';
      out_.flush();
      before = news.state;
    } while (!is_final(news.state));
    const troupe::job_outcome end = co_await store_.settled(id);
    if (end.error) out_ << shown(end.error->type + ": " + end.error->text) << '\n';
    co_return end.state == troupe::job_state::completed;
  }

  troupe::task<bool> schedules() {
    const std::vector<troupe::job_schedule> all = co_await jobs_.schedules();
    for (const troupe::job_schedule& s : all) {
      out_ << shown(s.name) << ": " << shown(s.script) << " v" << s.version << " at "
           << shown(s.cron) << ", next " << to_text(s.next);
      if (s.last.epoch != 0) out_ << ", last job " << to_string(s.last);
      out_ << '\n';
    }
    co_return true;
  }
  troupe::task<bool> unschedule(std::string name) {
    const bool was = co_await jobs_.unschedule(name);
    out_ << shown(name) << (was ? ": ended\n" : ": there is no such schedule\n");
    co_return was;
  }

private:
  static constexpr std::size_t page_size = 500;
  using change = troupe::task<bool> (troupe::job_store::*)(troupe::job_id);

  troupe::task<bool> each(std::vector<std::string> ids, change what, const char* yes,
                          const char* no) {
    bool all = true;
    for (const std::string& text : ids) {
      const bool is = co_await (store_.*what)(read_id(text));
      out_ << text << ' ' << (is ? yes : no) << '\n';
      all = all && is;
    }
    co_return all;
  }

  troupe::task<std::optional<troupe::job_info>> find(std::string text) {
    std::optional<troupe::job_info> job = co_await store_.get(read_id(text));
    if (!job) out_ << text << " is not known, or no more\n";
    co_return job;
  }

  void head() {
    out_ << std::left << std::setw(32) << "JOB" << std::setw(24) << "SCRIPT" << std::setw(8)
         << "ATTEMPT" << ' ' << std::setw(10) << "UNTIL"
         << " NOTE\n";
  }
  void line(const troupe::job_info& job) {
    out_ << std::left << std::setw(32) << to_string(job.id) << std::setw(24)
         << shown(job.request->script, 23) << std::setw(8) << job.attempt << ' ' << std::setw(10)
         << until(job) << ' ';
    if (!job.holder.empty()) out_ << "at " << shown(job.holder) << ' ';
    if (job.stop_asked) out_ << "asked to stop ";
    if (job.error) out_ << shown(job.error->text, 80);
    out_ << '\n';
  }
  std::string until(const troupe::job_info& job) const {
    return job.until == troupe::never ? "-" : to_text(job.until - on_.now());
  }

  void error_line(const troupe::job_info& job) {
    if (!job.error) {
      out_ << "says nothing\n";
      return;
    }
    const troupe::job_error& e = *job.error;
    out_ << shown(e.type.empty() ? e.text : e.type + ": " + e.text);
    if (!e.reason.empty()) out_ << " (" << shown(e.reason) << ')';
    out_ << '\n';
  }

  void describe(const troupe::job_info& job) {
    const troupe::job_request& r = *job.request;
    const auto row = [this](const char* what) -> std::ostream& {
      return out_ << std::left << std::setw(14) << what;
    };
    row("job") << to_string(job.id) << '\n';
    row("script") << shown(r.script) << " v" << r.version << '\n';
    row("state") << to_string(job.state) << (job.stop_asked ? ", asked to stop" : "") << '\n';
    if (job.until != troupe::never) row("until") << until(job) << " from now\n";
    if (!job.holder.empty()) row("held by") << shown(job.holder) << '\n';
    row("attempt") << job.attempt << ", failed " << job.failures << " of " << r.attempts
                   << ", lost " << job.losses << " of " << r.losses << '\n';
    row("order") << (r.ahead ? "ahead, " : "") << "priority " << r.priority << '\n';
    row("limits") << "time " << to_text(r.time_limit) << ", lease " << to_text(r.lease) << ", kept "
                  << to_text(r.keep) << '\n';
    if (!r.once.empty()) row("idempotency") << shown(r.once) << '\n';
    if (!r.key.empty()) row("key") << shown(r.key) << ", together " << r.together << '\n';
    row("params") << r.params.size() << " bytes: " << to_hex(r.params, most_bytes) << '\n';
    if (job.state == troupe::job_state::completed) {
      row("result") << job.result.size() << " bytes: " << to_hex(job.result, most_bytes) << '\n';
    }
    if (job.error) {
      row("error");
      error_line(job);
    }
  }

  static constexpr std::size_t most_bytes = 256;

  troupe::job_store& store_;
  troupe::executor& on_;
  troupe::client jobs_;
  std::ostream& out_;
};

}  // namespace job_tool
