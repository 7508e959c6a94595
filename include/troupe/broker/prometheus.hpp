// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `to_prometheus`: the figures of a broker as text that Prometheus reads (exposition format 0.0.4,
/// https://prometheus.io/docs/instrumenting/exposition_formats/).
///
/// Layer: broker. Serving the text is the program's affair.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <troupe/broker/broker_stats.hpp>
#include <troupe/broker/wait_histogram.hpp>
#include <troupe/time/clock.hpp>

namespace troupe {
namespace detail {

/// Writes metrics one after the other.
template <class Lazy>
class prometheus_text {
public:
  /// What cannot stand in a name becomes an underscore.
  explicit prometheus_text(std::string_view prefix) : prefix_(prefix) {
    if (prefix_.empty() || is_digit(prefix_.front())) prefix_.insert(0, 1, '_');
    for (char& c : prefix_) {
      const bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
      if (!is_letter && !is_digit(c) && c != ':') c = '_';
    }
  }

  void counter(std::string_view name, std::string_view help, std::uint64_t value) {
    one(std::string(name) + "_total", "counter", help, value);
  }
  void gauge(std::string_view name, std::string_view help, std::uint64_t value) {
    one(std::string(name), "gauge", help, value);
  }
  void histogram(std::string_view name, std::string_view help, const wait_histogram& h) {
    head(name, "histogram", help);
    std::uint64_t so_far = 0;
    for (std::size_t i = 0; i != h.size; ++i) {
      so_far += h.counts[i];
      const bool is_last = i + 1 == h.size;
      sample(name, "_bucket{le=\"" + (is_last ? "+Inf" : seconds(h.bound(i))) + "\"}",
             std::to_string(so_far));
    }
    sample(name, "_sum", seconds(h.total));
    sample(name, "_count", std::to_string(so_far));
  }

  std::string take() && { return std::move(text_); }

private:
  static bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

  /// Exact, and the same in every locale.
  static std::string seconds(duration d) {
    constexpr std::int64_t per_second = 1'000'000'000;
    std::string fraction = std::to_string(per_second + d.count() % per_second);
    fraction.front() = '.';
    fraction.erase(fraction.find_last_not_of('0') + 1);
    return std::to_string(d.count() / per_second) + (fraction == "." ? "" : fraction);
  }

  void head(std::string_view name, std::string_view type, std::string_view help) {
    text_.append("# HELP ").append(prefix_).append("_").append(name);
    text_.append(" ").append(help).append("\n");
    text_.append("# TYPE ").append(prefix_).append("_").append(name);
    text_.append(" ").append(type).append("\n");
  }
  void sample(std::string_view name, std::string_view rest, std::string_view value) {
    text_.append(prefix_).append("_").append(name).append(rest);
    text_.append(" ").append(value).append("\n");
  }
  void one(const std::string& name, std::string_view type, std::string_view help,
           std::uint64_t value) {
    head(name, type, help);
    sample(name, "", std::to_string(value));
  }

  std::string prefix_;
  std::string text_;
};

}  // namespace detail

/// The figures as text for Prometheus; to be served as `text/plain; version=0.0.4`. Names of
/// metrics begin with `prefix` and an underscore; times are in seconds.
template <class Lazy = void>
[[nodiscard]] std::string to_prometheus(const broker_stats& s, std::string_view prefix = "troupe") {
  detail::prometheus_text<Lazy> text(prefix);
  text.gauge("workers", "Workers with an instance.", s.workers);
  text.counter("workers_created", "Instances that were made.", s.created);
  text.counter("workers_removed", "Instances that were destroyed, however they went.", s.removed);
  text.counter("evictions", "Workers that were evicted.", s.evictions);
  text.counter("restarts", "Instances that took the place of one that had failed.", s.restarts);
  text.counter("turns", "Calls, tells and timers that had their turn.", s.turns);
  text.counter("calls", "Calls that had their turn.", s.calls);
  text.counter("tells", "Tells that had their turn.", s.tells);
  text.counter("dead_letters", "Messages that nobody awaits and that were lost, or failed.",
               s.dead_letters);
  text.gauge("waiting_messages", "Messages in mailboxes.", s.waiting);
  text.gauge("longest_mailbox_messages", "Messages in the fullest mailbox.", s.longest_mailbox);
  text.histogram("wait_seconds", "How long messages waited for their turn, where it is measured.",
                 s.waits);
  text.gauge("pool_threads", "Threads of the broker's own pool.", s.pool.threads);
  text.gauge("pool_replacements", "Further threads, which stand in for those that are stuck.",
             s.pool.replacements);
  text.counter("pool_steps", "Coroutines resumed and workers served by the pool.", s.pool.steps);
  text.counter("pool_steals", "Steps that one thread took from another.", s.pool.steals);
  text.counter("pool_parks", "Times a thread of the pool went to sleep.", s.pool.parks);
  return std::move(text).take();
}

}  // namespace troupe
