// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// One thread that looks after a helper and its children: starts them, takes replies nobody looks
/// for, and learns of their end.
///
/// Layer: function. Linux. The thread runs while the reactor exists; the helper is started when the
/// first child is wanted, and again when it has died.

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_list.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/coro/start_thread.hpp>
#include <troupe/function/sandbox/child_process.hpp>
#include <troupe/function/sandbox/helper_choice.hpp>
#include <troupe/function/sandbox/helper_messages.hpp>
#include <troupe/function/sandbox/helper_process.hpp>
#include <troupe/function/sandbox/level.hpp>
#include <troupe/function/sandbox/look_guard.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/futex.hpp>
#include <troupe/sync/spin_lock.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail::sandbox {

/// Thread safety: `start`, `level` and `helpers_started` from any thread.
class reactor {
public:
  using child_ptr = intrusive_ptr<child_process>;

  /// `program`: the helper; empty: see `helper_program`. Throws `std::system_error`.
  explicit reactor(std::string program);
  reactor(const reactor&) = delete;
  reactor& operator=(const reactor&) = delete;
  /// Ends the helper, and with it all children there still are.
  ~reactor();

  /// Has the child started; `child.ready()` says when that has succeeded or failed.
  void start(child_ptr child) noexcept;

  /// What the kernel gives. Blocks until the helper has tried it: some milliseconds, once. Throws
  /// `errc::start_failed` if there is no helper.
  sandbox_level level();

  /// How many helpers there have been.
  std::uint32_t helpers_started() const noexcept { return helpers_.load(order::relaxed); }

private:
  static constexpr std::uint32_t level_known = 1;
  static constexpr std::uint32_t level_failure = 2;
  static constexpr std::uint64_t command_name = 0;
  static constexpr std::uint64_t helper_name = 1;
  static constexpr std::size_t most_orders = 16;  // that the helper has not answered yet
  static constexpr duration tidy_time = std::chrono::seconds(1);

  void loop() noexcept;
  void take_commands() noexcept;
  void send_orders() noexcept;
  void fail_level() noexcept;
  bool ensure_helper() noexcept;
  int send_order(const child_process& child) noexcept;
  void refuse_waiting(std::string_view why) noexcept;
  void on_helper() noexcept;
  void on_message(const helper_message& m, descriptor attached) noexcept;
  void end_unheld(const child_process& child) noexcept;
  void lose_helper(std::string_view reason = {}) noexcept;
  void note_failed_helper(std::string_view why) noexcept;
  void on_child(std::uint64_t name) noexcept;
  int next_timeout() noexcept;
  void note_untidy(const child_process& child) noexcept;
  void tidy_idle() noexcept;
  void serve_requests() noexcept;
  void tick() noexcept;
  bool watch(int file, std::uint64_t name, std::uint32_t how = EPOLLIN) noexcept;
  void forget(std::uint64_t name) noexcept;
  void wake_left_behind() noexcept;
  void wake() noexcept;

  const std::string program_;
  const descriptor poll_;
  const descriptor command_;

  spin_lock lock_;                                               // guards both below
  forward_queue<child_process, &child_process::next> commands_;  // each with a reference
  bool stopping_ = false;

  // The lowest bit: the level is known, in level_. Above it: how often it could not be found out.
  // So whoever waits for a change misses none, however many wait. A futex.
  atomic<std::uint32_t> level_state_{0};
  atomic<std::uint32_t> level_{0};
  atomic<bool> level_wanted_{false};
  atomic<std::uint32_t> helpers_{0};

  // Of the thread.
  helper_process helper_;
  std::string no_helper_;  // why there is none
  std::string last_failure_;
  bool has_served_ = false;      // it has started a child
  unsigned failed_helpers_ = 0;  // one after the other, that ended before they did that
  time_point next_helper_ = (time_point::min)();
  std::shared_ptr<look_guard> guard_;
  time_point tick_at_ = never;
  int quiet_ticks_ = 0;
  std::deque<child_ptr> waiting_;
  std::unordered_map<std::uint64_t, child_ptr> children_;
  std::vector<child_ptr> gone_;  // dead; somebody may sleep for them still
  std::vector<std::uint64_t> starting_;
  std::vector<std::uint64_t> tidy_;
  time_point tidy_at_ = never;
  std::uint64_t next_name_ = 2;
  std::size_t orders_ = 0;

  std::thread thread_;
};

inline reactor::reactor(std::string program)
    : program_(std::move(program)),
      poll_(::epoll_create1(EPOLL_CLOEXEC)),
      command_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!poll_ || !command_ || !watch(command_.get(), command_name)) {
    throw std::system_error(errno, std::generic_category(), "epoll");
  }
  guard_ = std::make_shared<look_guard>(command_.get());
  thread_ = start_thread<&reactor::loop>(*this);
}

inline reactor::~reactor() {
  {
    const spin_guard guard(lock_);
    stopping_ = true;
  }
  wake();
  thread_.join();
}

inline void reactor::wake() noexcept {
  const std::uint64_t one = 1;
  if (::write(command_.get(), &one, sizeof one) < 0) return;  // full: it is awake
}

inline bool reactor::watch(int file, std::uint64_t name, std::uint32_t how) noexcept {
  ::epoll_event event{};
  event.events = how;
  event.data.u64 = name;
  return ::epoll_ctl(poll_.get(), EPOLL_CTL_ADD, file, &event) == 0;
}

inline void reactor::start(child_ptr child) noexcept {
  {
    const spin_guard guard(lock_);
    commands_.push_back(*child.detach());
  }
  wake();
}

inline sandbox_level reactor::level() {
  const std::uint32_t before = level_state_.load(order::acquire);
  std::uint32_t seen = before;
  while ((seen & level_known) == 0 && seen == before) {
    level_wanted_.store(true,
                        order::seq_cst);  // each time: another's failure may have taken it back
    wake();
    futex_wait(level_state_, before);
    seen = level_state_.load(order::acquire);
  }
  if ((seen & level_known) != 0) return sandbox_level(level_.load(order::relaxed));
  throw error(errc::start_failed, {}, "there is no helper for the sandbox");
}

// -- The thread ----------------------------------------------------------------------------------

inline void reactor::loop() noexcept {
  constexpr int most_events = 64;
  ::epoll_event events[most_events];
  for (;;) {
    take_commands();
    {
      const spin_guard guard(lock_);
      if (stopping_) break;
    }
    send_orders();
    const int count = ::epoll_wait(poll_.get(), events, most_events, next_timeout());
    for (int i = 0; i < count; ++i) {
      const std::uint64_t name = events[i].data.u64;
      if (name == command_name) {
        std::uint64_t drained = 0;
        if (::read(command_.get(), &drained, sizeof drained) < 0) continue;
      } else if (name == helper_name) {
        on_helper();
      } else {
        on_child(name);
      }
    }
    serve_requests();
    tick();
    tidy_idle();
  }
  lose_helper();
  refuse_waiting("its launcher is being destroyed");
  for (wake_left_behind(); !gone_.empty(); wake_left_behind()) ::poll(nullptr, 0, 1);
}

inline void reactor::take_commands() noexcept {
  for (;;) {
    child_process* child = nullptr;
    {
      const spin_guard guard(lock_);
      child = commands_.pop_front();
    }
    if (child == nullptr) return;
    child->name = next_name_++;
    child->guarded_by(guard_);
    waiting_.push_back(child_ptr(child, adopt_ref));
  }
}

inline void reactor::refuse_waiting(std::string_view why) noexcept {
  while (!waiting_.empty()) {
    waiting_.front()->lost(why);
    waiting_.pop_front();
  }
}

inline bool reactor::ensure_helper() noexcept {
  if (helper_) return true;
  try {
    if (steady_now() < next_helper_) {
      no_helper_ = "its helper keeps failing, and is tried again later: " + last_failure_;
      return false;
    }
    const std::string program = helper_program(program_);
    if (program.empty()) {
      no_helper_ =
          "there is no helper: no troupe-function beside this program, and its main does not begin "
          "with troupe::sandbox_main";
      return false;
    }
    helper_ = helper_process(program);
  } catch (const std::exception& e) {
    no_helper_ = std::string("the helper cannot be started: ") + e.what();
    note_failed_helper(no_helper_);
    return false;
  }
  has_served_ = false;
  helpers_.fetch_add(1, order::relaxed);
  return watch(helper_.socket(), helper_name);
}

/// The n-th in a row is followed by a pause, in which whoever wants a child is told why there is
/// none: none, 100 ms, and twice as much each time, up to 5 s.
inline void reactor::note_failed_helper(std::string_view why) noexcept {
  try {
    last_failure_ = why;
  } catch (...) {
    last_failure_.clear();
  }
  ++failed_helpers_;
  if (failed_helpers_ < 2) return;
  const unsigned doublings = (std::min)(failed_helpers_ - 2, 6U);
  const duration pause = (std::min)(duration(std::chrono::milliseconds(100)) * (1 << doublings),
                                    duration(std::chrono::seconds(5)));
  next_helper_ = saturating_add(steady_now(), pause);
}

inline void reactor::send_orders() noexcept {
  const bool wants_level =
      level_wanted_.load(order::seq_cst) && (level_state_.load(order::relaxed) & level_known) == 0;
  if (waiting_.empty() && !wants_level) return;
  if (!ensure_helper()) {
    refuse_waiting(no_helper_);
    fail_level();
    return;
  }
  while (!waiting_.empty() && orders_ != most_orders) {
    const child_ptr child = std::move(waiting_.front());
    waiting_.pop_front();
    int error = send_order(*child);
    if (error == EPIPE || error == ECONNRESET) {  // it has just died: once more, with another one
      lose_helper();
      if (ensure_helper()) error = send_order(*child);
    }
    if (error != 0) {
      child->lost("its helper cannot be reached: " + std::generic_category().message(error));
      continue;
    }
    ++orders_;
    children_.emplace(child->name, child);
    starting_.push_back(child->name);
  }
}

/// Tells those who wait for the level that there is none. The next one has it tried again.
inline void reactor::fail_level() noexcept {
  if ((level_state_.load(order::relaxed) & level_known) != 0) return;
  level_wanted_.store(false, order::seq_cst);
  level_state_.fetch_add(level_failure, order::release);
  futex_wake_all(&level_state_);
}

/// Returns 0 or an errno.
inline int reactor::send_order(const child_process& child) noexcept {
  const child_wish& wish = child.wish();
  spawn_message m{};
  m.child = child.name;
  m.memory = wish.memory;
  m.module_size = wish.image.size();
  m.files = wish.files;
  m.niceness = wish.niceness;
  m.network = wish.network ? 1 : 0;
  m.required = wish.required.bits();
  std::memcpy(m.source, wish.may_read_source.data(), wish.may_read_source.size());
  std::memcpy(m.target, wish.may_read_target.data(), wish.may_read_target.size());
  const int files[] = {child.host_file_descriptor(), child.child_file_descriptor(), child.event(),
                       wish.image.descriptor()};
  const int error = send_message(helper_.socket(), &m, sizeof m, files, 4);
  if (error != 0) return error;
  // By its edge: each time that the child raises it, and it is never lowered.
  return watch(child.event(), child.name, EPOLLIN | EPOLLET) ? 0 : errno;
}

// -- What the helper says ------------------------------------------------------------------------

inline void reactor::on_helper() noexcept {
  for (;;) {
    helper_message m{};
    received got = receive_message(helper_.socket(), &m, sizeof m, MSG_DONTWAIT);
    if (got.size < 0 && (got.error == EAGAIN || got.error == EWOULDBLOCK)) return;
    if (got.size <= 0) return lose_helper();
    if (got.size == static_cast<::ssize_t>(sizeof m)) on_message(m, std::move(got.descriptors[0]));
  }
}

inline void reactor::on_message(const helper_message& m, descriptor attached) noexcept {
  if (m.kind == helper_says::hello) {
    if (m.code != static_cast<std::int32_t>(layout_version)) {
      return lose_helper("the helper is of another version");
    }
    level_.store(m.level, order::relaxed);
    level_state_.fetch_or(level_known, order::release);
    futex_wake_all(&level_state_);
    return;
  }
  if (m.kind != helper_says::exited) orders_ -= orders_ != 0 ? 1 : 0;
  const auto found = children_.find(m.child);
  if (found == children_.end()) return;
  const child_ptr child = found->second;
  switch (m.kind) {
    case helper_says::spawned:
      if (!attached) {  // this process has no descriptor left: nobody could kill the child
        forget(m.child);
        end_unheld(*child);
        child->not_held();
        break;
      }
      has_served_ = true;
      failed_helpers_ = 0;
      child->spawned(std::move(attached));
      break;
    case helper_says::not_spawned:
      forget(m.child);
      child->not_spawned(m.code);
      break;
    case helper_says::exited:
      forget(m.child);
      child->exited(m.code, m.status);
      break;
    default:
      break;
  }
}

/// Has the helper end a child that waits for its start and that the host has no handle of.
inline void reactor::end_unheld(const child_process& child) noexcept {
  spawn_message m{};
  m.child = child.name;
  m.end = 1;
  if (send_message(helper_.socket(), &m, sizeof m, nullptr, 0) != 0) lose_helper();
}

/// The helper has died, or is to: the kernel takes its children along, and they are told apart from
/// those that end by themselves.
inline void reactor::lose_helper(std::string_view reason) noexcept {
  if (!helper_) return;
  // One that dies before it has said hello is not started over and over for those who wait.
  fail_level();
  std::string why;
  try {
    why = "the helper of its sandbox has ended: " + helper_.end();
    if (!reason.empty()) why = reason;
  } catch (...) {
    why.clear();
  }
  if (!has_served_) note_failed_helper(why);
  orders_ = 0;
  std::vector<child_ptr> lost;
  for (auto& [name, child] : children_) lost.push_back(child);
  for (const child_ptr& child : lost) {
    forget(child->name);
    child->lost(why);
  }
}

inline void reactor::forget(std::uint64_t name) noexcept {
  const auto found = children_.find(name);
  if (found == children_.end()) return;
  static_cast<void>(::epoll_ctl(poll_.get(), EPOLL_CTL_DEL, found->second->event(), nullptr));
  const child_ptr child = std::move(found->second);
  children_.erase(found);
  try {
    gone_.push_back(child);
    guard_->expect();
  } catch (...) {
    while (child->on_tick()) ::poll(nullptr, 0, 1);  // for want of memory: here and now
  }
}

/// Callers who lay down before they could see that it is dead, and have perhaps not slept yet, are
/// woken until none is left.
inline void reactor::wake_left_behind() noexcept {
  std::erase_if(gone_, [](const child_ptr& child) { return !child->on_tick(); });
}

// -- Children ------------------------------------------------------------------------------------

inline void reactor::on_child(std::uint64_t name) noexcept {
  const auto found = children_.find(name);
  if (found == children_.end()) return;
  const child_ptr child = found->second;
  child->on_event();
  note_untidy(*child);
}

inline void reactor::note_untidy(const child_process& child) noexcept {
  if (!child.wants_tidying()) return;
  const std::uint64_t name = child.name;
  if (std::find(tidy_.begin(), tidy_.end(), name) == tidy_.end()) tidy_.push_back(name);
  if (tidy_at_ == never) tidy_at_ = saturating_add(steady_now(), tidy_time);
}

inline void reactor::tidy_idle() noexcept {
  if (tidy_at_ == never || steady_now() < tidy_at_) return;
  tidy_at_ = never;
  for (const std::uint64_t name : tidy_) {
    const auto found = children_.find(name);
    if (found != children_.end()) found->second->tidy();
  }
  tidy_.clear();
}

/// What other threads, or this one before, have asked for by `look_guard::request`.
inline void reactor::serve_requests() noexcept {
  if (!guard_->take_requests()) return;
  for (auto& [name, child] : children_) {
    child->on_request();
    note_untidy(*child);
  }
}

/// Wakes callers that have slept for their replies for too long.
inline void reactor::tick() noexcept {
  if (!guard_->active()) return;
  const time_point now = steady_now();
  if (tick_at_ == never) tick_at_ = saturating_add(now, look_guard::tick);
  if (now < tick_at_) return;
  tick_at_ = saturating_add(now, look_guard::tick);
  bool somebody = false;
  for (auto& [name, child] : children_) somebody = child->on_tick() || somebody;
  wake_left_behind();
  somebody = somebody || !gone_.empty();
  quiet_ticks_ = somebody ? 0 : quiet_ticks_ + 1;
  if (quiet_ticks_ < look_guard::quiet_ticks) return;
  quiet_ticks_ = 0;
  tick_at_ = never;
  guard_->rest();
  // Whoever began to sleep before the line above has found the guard active, and relies on it.
  for (auto& [name, child] : children_) {
    if (child->on_tick()) guard_->expect();
  }
}

/// In milliseconds; ends what has not started in time.
inline int reactor::next_timeout() noexcept {
  time_point next = (std::min)(tidy_at_, tick_at_);
  const time_point now = steady_now();
  std::erase_if(starting_, [&](std::uint64_t name) {
    const auto found = children_.find(name);
    if (found == children_.end() || !found->second->starting()) return true;
    const time_point deadline = found->second->wish().start_deadline;
    if (deadline <= now) {
      found->second->on_time();
      return true;
    }
    next = (std::min)(next, deadline);
    return false;
  });
  if (next == never) return -1;
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(next - now).count();
  return static_cast<int>((std::clamp)(left + 1, decltype(left){0}, decltype(left){60'000}));
}

}  // namespace troupe::detail::sandbox
