// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `redis_link`: commands to a Redis server and messages from it, for coroutines.
///
/// Layer: adapter. One thread for each link does all that has to do with sockets. Commands go over
/// one connection, in the order in which they were asked: all that wait go out together, and are
/// answered one behind the other. Channels have a connection of their own, made when the first one
/// is subscribed.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <troupe/adapter/redis/redis_call.hpp>
#include <troupe/adapter/redis/redis_command.hpp>
#include <troupe/adapter/redis/redis_connection.hpp>
#include <troupe/adapter/redis/redis_ear.hpp>
#include <troupe/adapter/redis/redis_error.hpp>
#include <troupe/adapter/redis/redis_options.hpp>
#include <troupe/adapter/redis/redis_reply.hpp>
#include <troupe/adapter/redis/redis_socket.hpp>
#include <troupe/adapter/redis/redis_tls.hpp>
#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_list.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/base/unique_function.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/start_thread.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/wait_list.hpp>
#include <troupe/sync/spin_lock.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

class redis_link;

/// Keeps a function listening to a link. Its destructor waits for one that is being called, but not
/// for itself. The link outlives it.
class redis_listening {
public:
  redis_listening() noexcept = default;
  redis_listening(redis_listening&& other) noexcept
      : link_(std::exchange(other.link_, nullptr)), ear_(std::move(other.ear_)) {}
  redis_listening& operator=(redis_listening&& other) noexcept {
    redis_listening taken(std::move(other));
    std::swap(link_, taken.link_);
    ear_.swap(taken.ear_);
    return *this;
  }
  ~redis_listening() { stop(); }

  /// From its return on the function is not called any more.
  inline void stop() noexcept;

private:
  friend class redis_link;
  redis_listening(redis_link& link, intrusive_ptr<redis_ear> ear) noexcept
      : link_(&link), ear_(std::move(ear)) {}

  redis_link* link_ = nullptr;
  intrusive_ptr<redis_ear> ear_;
};

/// What all that use one server in this process share.
///
/// A command is sent at most once, and never again: one that was on its way when the connection was
/// lost fails with `errc::connection_lost`. One that comes while there is no connection waits for
/// the next, up to its limit.
///
/// Destroyed with commands under way, it lets them fail; nobody may call it by then.
///
/// Thread safety: all members but the destructor from any thread.
class redis_link {
public:
  /// `on` gives random numbers, and outlives the link. Connects in the background. Throws
  /// `std::invalid_argument` for options that cannot be, and `std::runtime_error` where a file for
  /// TLS cannot be read, or the system has no thread or descriptor left.
  redis_link(executor& on, redis_options options);
  redis_link(const redis_link&) = delete;
  redis_link& operator=(const redis_link&) = delete;
  ~redis_link();

  [[nodiscard]] const redis_options& options() const noexcept { return options_; }

  /// Its answer. Throws what `redis_code_of` says for one that is a failure, with the server's own
  /// words; `errc::connection_lost`: it may have been done, or could not be asked at all, as the
  /// text says; `errc::timed_out`: no answer came in time. A stop request ends the wait:
  /// `errc::cancelled`: it was never sent; `errc::interrupted`: it was.
  [[nodiscard]] task<redis_reply> ask(redis_command c) {
    return outcome(redis_wish::answer, std::move(c));
  }
  /// The same, but an answer that is a failure is given like any other.
  [[nodiscard]] task<redis_reply> ask_raw(redis_command c) {
    return outcome(redis_wish::any_answer, std::move(c));
  }
  /// Sends it in its turn and forgets it, or loses it. False: too much waits already.
  bool tell(redis_command c);

  /// Calls `f` with each message on this channel, on the link's thread: it must not block nor
  /// throw. What is published before the server knows of it is not heard; see `subscribed`.
  [[nodiscard]] redis_listening subscribe(std::string channel,
                                          unique_function<void(std::string_view)> f);
  /// Returns when the server knows of all channels. Throws as `ask`.
  [[nodiscard]] task<> subscribed();

  /// Calls `f` each time that the server can be reached again, by commands or by channels: what was
  /// published meanwhile was not heard; and at once, where it can be reached already. On the link's
  /// thread: it must not block nor throw.
  [[nodiscard]] redis_listening on_event(unique_function<void(redis_event)> f);

private:
  friend class redis_listening;

  using calls = forward_queue<redis_call, &redis_call::next>;
  using ears = forward_queue<redis_ear, &redis_ear::next>;
  using call_ptr = intrusive_ptr<redis_call>;
  using ear_ptr = intrusive_ptr<redis_ear>;

  static constexpr std::size_t much_output = std::size_t{1} << 20;  // beyond it, commands wait

  class command_user final : public redis_connection::user {
  public:
    explicit command_user(redis_link& l) noexcept : link_(l) {}
    void opened() override { link_.commands_opened(); }
    void heard(redis_reply r) override { link_.command_heard(std::move(r)); }
    void lost(const redis_problem& p) override { link_.commands_lost(p); }

  private:
    redis_link& link_;
  };
  class channel_user final : public redis_connection::user {
  public:
    explicit channel_user(redis_link& l) noexcept : link_(l) {}
    void opened() override { link_.channels_opened(); }
    void heard(redis_reply r) override { link_.channel_heard(r); }
    void lost(const redis_problem& p) override { link_.channels_lost(p); }

  private:
    redis_link& link_;
  };

  static redis_options checked(redis_options o);

  // From any thread.
  task<redis_reply> outcome(redis_wish w, redis_command c);
  [[nodiscard]] bool push(redis_call& c) noexcept;
  redis_listening listen(ear_ptr ear);
  void look_at(redis_ear& ear) noexcept;

  // The link's thread.
  void run() noexcept;
  void turn();
  bool take_orders();
  void take(redis_call& c);
  void look(const ear_ptr& ear);
  void expire();
  void expire_sent();
  void write_waiting();
  void wait();
  void commands_opened();
  void command_heard(redis_reply r);
  void commands_lost(const redis_problem& p);
  void channels_opened();
  void channel_heard(const redis_reply& r);
  void channels_lost(const redis_problem& p);
  void all_subscribed();
  void settle_barriers() noexcept;
  void tell_watchers(redis_event what);
  void let_go(redis_call& c) noexcept;
  void fail_waiting(errc code, const std::string& why) noexcept;
  void fail_barriers(errc code, const std::string& why) noexcept;
  void give_up() noexcept;
  [[nodiscard]] time_point next_step() const noexcept;

  const redis_options options_;
  const std::unique_ptr<const redis_tls> tls_;
  redis_bell bell_;

  spin_lock lock_;       // guards the six below
  calls incoming_;       // each with a reference
  ears changed_;         // each with a reference
  bool asleep_ = false;  // the thread waits, and is to be woken
  bool closing_ = false;
  std::size_t told_ = 0;  // commands that nobody waits for, and that are not sent yet
  std::size_t told_bytes_ = 0;

  // What follows is the thread's own.
  time_point now_{};
  command_user command_user_{*this};
  channel_user channel_user_{*this};
  redis_connection commands_;
  redis_connection channels_;
  calls waiting_;              // for the connection, oldest first; each with a reference
  std::deque<call_ptr> sent_;  // and not answered, oldest first
  std::size_t late_ = 0;       // so many of the oldest were given up, but not by the server
  bool turns_away_ = false;    // it was told READONLY: it connects anew when nothing is under way
  std::map<std::string, std::vector<ear_ptr>, std::less<>> listeners_;
  std::vector<ear_ptr> watchers_;
  std::size_t unconfirmed_ = 0;  // subscriptions that the server has not confirmed
  calls barriers_;               // who waits for them; each with a reference
  served_queue served_;          // to be made ready at the end of a step

  std::thread thread_;  // the last one: it uses all the others
};

// --- from any thread ----------------------------------------------------------------------------

inline redis_link::redis_link(executor& on, redis_options options)
    : options_(checked(std::move(options))),
      tls_(options_.tls.enabled ? std::make_unique<const redis_tls>(options_) : nullptr),
      commands_(options_, tls_.get(), redis_purpose::commands, on, command_user_),
      channels_(options_, tls_.get(), redis_purpose::channels, on, channel_user_),
      thread_(start_thread<&redis_link::run>(*this)) {}

inline redis_options redis_link::checked(redis_options o) {
  const auto demand = [](bool is, const char* what) {
    if (!is) throw std::invalid_argument(std::string("redis_options: ") + what);
  };
  demand(!o.host.empty(), "there is no host");
  demand(o.port != 0, "the port is 0");
  demand(!o.name.empty() && o.name.find_first_of("{}") == std::string::npos,
         "the name is empty, or has a brace in it");
  demand(std::none_of(o.client_name.begin(), o.client_name.end(),
                      [](char c) { return c <= ' ' || c > '~'; }),
         "the client_name has a blank or a character beyond ASCII in it");
  demand(o.user.empty() || !o.password.empty(), "a user has a password");
  demand(o.connect_limit > duration::zero() && o.command_limit > duration::zero(),
         "a limit is not positive");
  return o;
}

inline redis_link::~redis_link() {
  {
    const spin_guard guard(lock_);
    closing_ = true;
  }
  bell_.ring();
  thread_.join();
}

/// The link may be gone when it goes on.
inline task<redis_reply> redis_link::outcome(redis_wish w, redis_command c) {
  const call_ptr call(new redis_call(w, std::move(c)), adopt_ref);
  if (!push(*call)) throw error(errc::connection_lost, {}, "the link to Redis is closed");
  try {
    co_await call->settled();
  } catch (const error&) {
    const redis_call::stage was = call->leave();
    if (was == redis_call::stage::waiting) throw;
    if (was == redis_call::stage::sent) {
      throw error(errc::interrupted, {}, "a command to Redis was on its way");
    }
  }
  co_return call->take();
}

inline task<> redis_link::subscribed() {
  redis_command none("");
  const redis_reply done = co_await outcome(redis_wish::channels, std::move(none));
  static_cast<void>(done);
}

/// False: the link is closed.
inline bool redis_link::push(redis_call& c) noexcept {
  bool wakes = false;
  {
    const spin_guard guard(lock_);
    if (closing_) return false;
    add_ref(&c);
    incoming_.push_back(c);
    wakes = std::exchange(asleep_, false);
  }
  if (wakes) bell_.ring();
  return true;
}

inline bool redis_link::tell(redis_command c) {
  const std::size_t size = c.size();
  const call_ptr call(new redis_call(redis_wish::nothing, std::move(c)), adopt_ref);
  {
    const spin_guard guard(lock_);
    if (told_ == options_.told_commands || told_bytes_ + size > options_.told_bytes) return false;
    ++told_;
    told_bytes_ += size;
  }
  return push(*call);
}

inline redis_listening redis_link::subscribe(std::string channel,
                                             unique_function<void(std::string_view)> f) {
  auto call = [heard = std::move(f)](redis_event, std::string_view text) mutable { heard(text); };
  return listen(ear_ptr(new redis_ear(std::move(channel), std::move(call)), adopt_ref));
}

inline redis_listening redis_link::on_event(unique_function<void(redis_event)> f) {
  auto call = [told = std::move(f)](redis_event what, std::string_view) mutable { told(what); };
  return listen(ear_ptr(new redis_ear({}, std::move(call)), adopt_ref));
}

inline redis_listening redis_link::listen(ear_ptr ear) {
  look_at(*ear);
  return redis_listening(*this, std::move(ear));
}

/// The thread is to look whether it is closed.
inline void redis_link::look_at(redis_ear& ear) noexcept {
  bool wakes = false;
  {
    const spin_guard guard(lock_);
    if (closing_ || std::exchange(ear.queued, true)) return;
    add_ref(&ear);
    changed_.push_back(ear);
    wakes = std::exchange(asleep_, false);
  }
  if (wakes) bell_.ring();
}

inline void redis_listening::stop() noexcept {
  if (link_ == nullptr) return;
  ear_->close();
  std::exchange(link_, nullptr)->look_at(*ear_);
  ear_ = {};
}

// --- the thread ---------------------------------------------------------------------------------

inline void redis_link::run() noexcept {
  redis_block_signals();
  now_ = steady_now();
  while (take_orders()) {
    try {
      turn();
    } catch (const std::exception& e) {  // no memory, most likely
      commands_.lose({errc::connection_lost, e.what()}, now_);
      channels_.lose({errc::connection_lost, e.what()}, now_);
    }
    make_ready(served_);
    wait();
    make_ready(served_);  // who was answered goes on before others are heard
  }
  give_up();
}

inline void redis_link::turn() {
  commands_.step(now_);
  if (!listeners_.empty()) channels_.step(now_);
  expire();
  write_waiting();
}

/// False: it is the end.
inline bool redis_link::take_orders() {
  calls fresh;
  ears changed;
  {
    const spin_guard guard(lock_);
    asleep_ = false;
    if (closing_) return false;
    fresh.append(std::move(incoming_));
    changed.append(std::move(changed_));
  }
  while (redis_ear* const e = changed.pop_front()) {
    const ear_ptr ear(e, adopt_ref);
    {
      const spin_guard guard(lock_);
      ear->queued = false;
    }
    look(ear);
  }
  while (redis_call* const c = fresh.pop_front()) take(*c);
  return true;
}

/// The call's reference comes with it.
inline void redis_link::take(redis_call& c) {
  c.deadline = saturating_add(now_, options_.command_limit);
  if (c.wish != redis_wish::channels) return waiting_.push_back(c);
  barriers_.push_back(c);
  const bool is_done = listeners_.empty() || (channels_.is_open() && unconfirmed_ == 0);
  if (is_done) settle_barriers();
}

/// One that is new, or closed.
inline void redis_link::look(const ear_ptr& ear) {
  if (ear->channel.empty()) {
    std::erase_if(watchers_, [&](const ear_ptr& e) { return e.get() == ear.get(); });
    if (ear->closed()) return;
    watchers_.push_back(ear);
    if (commands_.is_open()) ear->hear(redis_event::connected, {});
    if (channels_.is_open() && unconfirmed_ == 0) ear->hear(redis_event::subscribed, {});
    return;
  }
  auto at = listeners_.find(ear->channel);
  if (!ear->closed()) {
    const bool is_first = at == listeners_.end();
    if (is_first) at = listeners_.emplace(ear->channel, std::vector<ear_ptr>()).first;
    at->second.push_back(ear);
    if (!is_first || !channels_.is_open()) return;
    channels_.output().add(redis_command("SUBSCRIBE", ear->channel));
    ++unconfirmed_;
  } else if (at != listeners_.end()) {
    std::erase_if(at->second, [&](const ear_ptr& e) { return e.get() == ear.get(); });
    if (!at->second.empty()) return;
    listeners_.erase(at);
    if (channels_.is_open()) channels_.output().add(redis_command("UNSUBSCRIBE", ear->channel));
  }
}

inline void redis_link::write_waiting() {
  if (turns_away_ && sent_.empty()) {
    commands_.lose({errc::refused, options_.url() + " says: READONLY"}, now_);
  }
  while (commands_.is_open() && !turns_away_ && commands_.output().size() < much_output) {
    redis_call* const next = waiting_.pop_front();
    if (next == nullptr) break;
    const call_ptr c(next, adopt_ref);
    let_go(*c);
    sent_.push_back(c);
    if (!c->begin()) {
      sent_.pop_back();
      continue;
    }
    c->sent_at = now_;
    const redis_command command = std::move(c->command);
    commands_.output().add(command);
  }
  commands_.flush(now_);
  channels_.flush(now_);
}

inline void redis_link::wait() {
  bool may_sleep = false;
  {
    const spin_guard guard(lock_);
    may_sleep = incoming_.empty() && changed_.empty() && !closing_;
    asleep_ = may_sleep;
  }
  if (commands_.has_more() || channels_.has_more()) may_sleep = false;
  pollfd all[] = {{bell_.get(), POLLIN, 0}, commands_.interest(), channels_.interest()};
  const time_point next = next_step();
  const duration limit = next == never ? endless : next - steady_now();
  redis_wait_for(all, 3, may_sleep ? limit : duration::zero());
  now_ = steady_now();
  if (all[0].revents != 0) bell_.clear();
  try {
    commands_.go_on(all[1].revents, now_);
    channels_.go_on(all[2].revents, now_);
  } catch (const std::exception& e) {
    commands_.lose({errc::connection_lost, e.what()}, now_);
    channels_.lose({errc::connection_lost, e.what()}, now_);
  }
}

inline time_point redis_link::next_step() const noexcept {
  time_point next = commands_.next_step();
  if (!listeners_.empty()) next = (std::min)(next, channels_.next_step());
  if (!waiting_.empty()) next = (std::min)(next, waiting_.front().deadline);
  if (!barriers_.empty()) next = (std::min)(next, barriers_.front().deadline);
  if (sent_.size() > late_) next = (std::min)(next, sent_[late_]->deadline);
  if (!sent_.empty() && commands_.is_open()) {
    const time_point heard = (std::max)(commands_.moved_at(), sent_.front()->sent_at);
    next = (std::min)(next, saturating_add(heard, options_.command_limit));
  }
  return next;
}

// --- limits -------------------------------------------------------------------------------------

inline void redis_link::expire() {
  while (!waiting_.empty() && waiting_.front().deadline <= now_) {
    const call_ptr c(waiting_.pop_front(), adopt_ref);
    let_go(*c);
    const redis_problem& p = commands_.problem();
    c->fail(errc::connection_lost,
            commands_.is_open() ? options_.url() + " does not take what is sent to it" : p.text,
            served_);
  }
  while (!barriers_.empty() && barriers_.front().deadline <= now_) {
    const call_ptr c(barriers_.pop_front(), adopt_ref);
    c->fail(errc::connection_lost, channels_.problem().text, served_);
  }
  expire_sent();
}

/// Those that are late keep their place until the server has answered them. One that does not say
/// anything at all is not there any more.
inline void redis_link::expire_sent() {
  while (late_ < sent_.size() && sent_[late_]->deadline <= now_) {
    sent_[late_++]->fail(errc::timed_out, options_.url() + " has not answered in time", served_);
  }
  if (sent_.empty() || !commands_.is_open()) return;
  const time_point heard = (std::max)(commands_.moved_at(), sent_.front()->sent_at);
  if (now_ < saturating_add(heard, options_.command_limit)) return;
  commands_.lose({errc::connection_lost, options_.url() + " is silent"}, now_);
}

/// It does not wait to be sent any more.
inline void redis_link::let_go(redis_call& c) noexcept {
  if (c.wish != redis_wish::nothing) return;
  const spin_guard guard(lock_);
  --told_;
  told_bytes_ -= c.command.size();
}

// --- commands -----------------------------------------------------------------------------------

inline void redis_link::commands_opened() {
  turns_away_ = false;
  tell_watchers(redis_event::connected);
}

inline void redis_link::command_heard(redis_reply r) {
  if (sent_.empty()) {
    return commands_.lose({errc::connection_lost, options_.url() + " says more than it was asked"},
                          now_);
  }
  redis_call& c = *sent_.front();
  const bool has_failed = r.is_failure();
  if (has_failed && redis_says(r.text(), "READONLY")) turns_away_ = true;
  if (has_failed && c.wish == redis_wish::answer) {
    c.fail(redis_code_of(r.text()), options_.url() + " says: " + std::string(r.text()), served_);
  } else {
    c.settle(std::move(r), served_);
  }
  sent_.pop_front();
  if (late_ != 0) --late_;
}

inline void redis_link::commands_lost(const redis_problem& p) {
  const std::string why = "it was on its way when the connection was lost: " + p.text;
  for (const call_ptr& c : sent_) c->fail(errc::connection_lost, why, served_);
  sent_.clear();
  late_ = 0;
  turns_away_ = false;
  if (p.is_final) fail_waiting(p.code, p.text);
}

inline void redis_link::fail_waiting(errc code, const std::string& why) noexcept {
  while (redis_call* const next = waiting_.pop_front()) {
    const call_ptr c(next, adopt_ref);
    let_go(*c);
    c->fail(code, why, served_);
  }
}

// --- channels -----------------------------------------------------------------------------------

inline void redis_link::channels_opened() {
  unconfirmed_ = listeners_.size();
  for (const auto& [channel, heard_by] : listeners_) {
    channels_.output().add(redis_command("SUBSCRIBE", channel));
  }
}

inline void redis_link::channel_heard(const redis_reply& r) {
  if (r.is_failure()) {
    return channels_.lose(
        {redis_code_of(r.text()), options_.url() + " says: " + std::string(r.text()), true}, now_);
  }
  if (r.kind() != redis_kind::list || r.size() < 3) return;  // it has answered that it is there
  const std::string_view what = r[0].text();
  if (what == "subscribe") {
    if (unconfirmed_ != 0 && --unconfirmed_ == 0) all_subscribed();
  } else if (what == "message") {
    const auto at = listeners_.find(r[1].text());
    if (at == listeners_.end()) return;
    for (const ear_ptr& ear : at->second) ear->hear(redis_event::message, r[2].text());
  }
}

inline void redis_link::channels_lost(const redis_problem& p) {
  unconfirmed_ = 0;
  if (p.is_final) fail_barriers(p.code, p.text);
}

inline void redis_link::fail_barriers(errc code, const std::string& why) noexcept {
  while (redis_call* const next = barriers_.pop_front()) {
    const call_ptr c(next, adopt_ref);
    c->fail(code, why, served_);
  }
}

inline void redis_link::all_subscribed() {
  settle_barriers();
  tell_watchers(redis_event::subscribed);
}

inline void redis_link::settle_barriers() noexcept {
  while (redis_call* const next = barriers_.pop_front()) {
    const call_ptr c(next, adopt_ref);
    c->settle(redis_reply(), served_);
  }
}

inline void redis_link::tell_watchers(redis_event what) {
  for (const ear_ptr& ear : watchers_) ear->hear(what, {});
}

/// The end: nothing waits for ever.
inline void redis_link::give_up() noexcept {
  calls rest;
  ears changed;
  {
    const spin_guard guard(lock_);
    rest.append(std::move(incoming_));
    changed.append(std::move(changed_));
  }
  while (redis_ear* const e = changed.pop_front()) release(e);
  while (redis_call* const c = rest.pop_front()) waiting_.push_back(*c);
  commands_.close();
  channels_.close();
  const std::string why = "the link to Redis is closed";
  for (const call_ptr& c : sent_) c->fail(errc::connection_lost, why, served_);
  sent_.clear();
  fail_waiting(errc::connection_lost, why);
  fail_barriers(errc::connection_lost, why);
  listeners_.clear();
  watchers_.clear();
  make_ready(served_);
}

}  // namespace troupe::detail
