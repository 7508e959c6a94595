// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The host's end of the memory that it shares with a child: calls go in, replies come out.
///
/// Layer: function. Linux. Knows no process: the other side may be a child, a test, or somebody who
/// writes what he likes.
///
/// Everything that the other side has written is hostile. A word of it is read once, into a copy;
/// what the copy says is checked against what this side knows, and bytes are copied out before
/// anybody looks into them. What does not fit is garbage: `take` says so, and nothing of it has
/// taken effect.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <troupe/base/error.hpp>
#include <troupe/base/intrusive_list.hpp>
#include <troupe/config.hpp>
#include <troupe/function/module_abi.hpp>
#include <troupe/function/module_instance.hpp>
#include <troupe/function/sandbox/arena.hpp>
#include <troupe/function/sandbox/layout.hpp>
#include <troupe/function/sandbox/shared_futex.hpp>
#include <troupe/function/sandbox/shared_memory.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail::sandbox {

/// Ends a call with an error of the library.
inline void settle_error(module_call& c, errc why, std::string_view detail) noexcept {
  c.settle(&c, troupe_outcome_error, static_cast<std::uint32_t>(why),
           {reinterpret_cast<const unsigned char*>(detail.data()), detail.size()});
}

/// Memory for what is copied out. Grows, and is kept from one use to the next.
class copy_buffer {
public:
  /// Null if there is no memory. What was in there before is lost.
  unsigned char* room(std::uint64_t size) noexcept {
    if (size <= size_) return bytes_.get();
    bytes_.reset(new (std::nothrow) unsigned char[size]);
    size_ = bytes_ ? size : 0;
    return bytes_.get();
  }
  void shrink(std::uint64_t above) noexcept {
    if (size_ <= above) return;
    bytes_.reset();
    size_ = 0;
  }

private:
  std::unique_ptr<unsigned char[]> bytes_;
  std::uint64_t size_ = 0;
};

/// A call of the module, copied out.
struct question {
  std::uint32_t cell;
  std::uint32_t format;
  std::int64_t deadline;
  std::string_view module;
  std::string_view version;
  std::string_view function;
  std::string_view key;
  troupe_bytes payload;
};

/// Who is told what `call_ring::take` finds. Called without any lock.
class ring_listener {
public:
  virtual void started(troupe_bytes manifest) noexcept = 0;
  virtual void refused(std::string_view why) noexcept = 0;
  /// False: it may not call that module. Then the listener answers, and the rest of the question is
  /// not even copied out.
  virtual bool permits(std::uint32_t cell, std::string_view module) noexcept = 0;
  virtual void asked(const question& q) noexcept = 0;

protected:
  ~ring_listener() = default;
};

enum class take_result {
  all,      ///< There is nothing more at the moment; or the word of the start was the last.
  more,     ///< There is more, but others are to have their turn.
  garbage,  ///< The other side does not keep to the rules.
};

/// Thread safety: all but `take` and `end` from any thread; those two from one thread at a time.
class call_ring {
public:
  /// A call that was put before the other side.
  struct ticket {
    std::uint32_t cell;
    std::uint32_t generation;
    bool woke;  ///< The other side was asleep.
  };

  /// Entries that one `take` looks at, at most; and bytes that it copies out of the arena before it
  /// looks at no more.
  static constexpr std::uint32_t batch = 256;
  static constexpr std::uint64_t batch_bytes = std::uint64_t{1} << 20;
  /// Bytes of the arena that are kept when it is tidied, and of the buffer for copies.
  static constexpr std::uint64_t tidy_above = 256u << 10;

  /// `host` and `child` have the sizes that layout.hpp says, and outlive this.
  /// A reply above `largest_reply` bytes is not copied out: its call ends as `errc::too_large`.
  call_ring(const shared_memory& host, const shared_memory& child,
            std::uint64_t largest_reply = largest_message);
  call_ring(const call_ring&) = delete;
  call_ring& operator=(const call_ring&) = delete;

  /// Puts a call before the other side, or in line where there is no room; or ends it, too. With
  /// `look`, the other side is told that this thread looks for the reply: `look_away` follows.
  std::optional<ticket> begin(module_call& c, bool look) noexcept;
  void look_away() noexcept;
  /// Between the two: says that this thread is about to sleep; from then on `wake_sleepers` counts
  /// it. Returns what `sleep_for_more` waits for; that follows.
  std::uint32_t lie_down() noexcept;
  /// Instead of sleeping.
  void get_up() noexcept;
  /// Sleeps until there is something to take, or `wake_sleepers`, or for no reason. Not beyond
  /// `deadline`: nanoseconds of the steady clock, or the largest value. Without one only where the
  /// other side is kept from moving sleepers to another word (FUTEX_REQUEUE), where nobody would
  /// wake them.
  void sleep_for_more(std::uint32_t seen, std::int64_t deadline) noexcept;
  /// Called now and then: wakes those who have slept since the call before. True if somebody
  /// sleeps.
  bool wake_sleepers() noexcept;
  /// False as soon as the call is about to be settled.
  bool is_open(ticket t) const noexcept {
    return slots_[t.cell].generation.load(order::acquire) == t.generation;
  }

  /// Asks for the end of a call that the other side has.
  void stop(std::uint64_t call_id) noexcept;
  /// Takes a call back that the other side has not begun, and from now on will not, if it keeps to
  /// the rules. True: whoever made it has it again, and it is neither settled nor given back.
  bool withdraw(std::uint64_t call_id) noexcept;
  /// Asks for the end of all, and gives back what is in line. Nothing begins any more.
  void close() noexcept;
  /// What `listener::asked` was asked; once for each cell.
  void answer(std::uint32_t cell, std::uint32_t outcome, std::uint32_t code,
              troupe_bytes bytes) noexcept;
  /// Lets the other side load the module.
  void go() noexcept;

  /// True if there is something to take.
  bool has_more() const noexcept {
    return child_.queue.tail.load(order::seq_cst) != taken_.load(order::relaxed);
  }
  take_result take(ring_listener& listener) noexcept;
  /// True if a thread that has put something has found the other side cheating: `take` says so.
  bool broken() const noexcept { return broken_.load(order::relaxed); }
  /// How many entries were ever taken.
  std::uint64_t taken() const noexcept { return taken_total_.load(order::relaxed); }

  /// From now on all calls are given back at once.
  void shut() noexcept;
  /// Ends all calls, after `shut`, when the other side is dead: those it has begun by `why`, the
  /// others are given back. (What it has begun is what it says itself: who lies about it has its
  /// calls made again, and harms nobody but its own callers.)
  void end(errc why, std::string_view detail) noexcept;

  /// A number that changes with each entry that either side takes; the other side's is what it
  /// says.
  std::uint64_t progress() const noexcept {
    return taken() << 32 | child_.taken.load(order::relaxed);
  }
  /// There are calls before the other side, or in line, or taken back and not yet passed, and it
  /// has begun none of them, if one believes it.
  bool begins_none() const noexcept;
  std::uint32_t level() const noexcept { return child_.level.load(order::relaxed); }
  bool out_of_memory() const noexcept { return child_.out_of_memory.load(order::relaxed) == 1; }
  bool idle() const noexcept;
  /// True if memory is held for long messages that were.
  bool untidy() const noexcept;
  /// Gives the buffer for copies back if it is large. Like `take`, from one thread at a time.
  void shrink() noexcept {
    copies_.shrink(tidy_above);
    copies_large_.store(false, order::relaxed);
  }
  /// Gives pages back that nobody uses, if nothing is under way.
  void tidy() noexcept;

private:
  struct slot {
    module_call* call = nullptr;  // null: nobody has this cell
    std::uint64_t block = in_cell;
    bool put = false;      // its call is in the queue and has no reply: else a reply is garbage
    bool back = false;     // its call was taken back: free as soon as the other side has passed it
    bool stopped = false;  // its stop is in the queue, or follows its call
    // Changes when a call gets the cell and when it loses it. Written under the lock.
    atomic<std::uint32_t> generation{0};
  };
  struct open_question {
    bool open = false;
    bool answering = false;         // its answer is being copied in
    std::uint64_t block = in_cell;  // of the answer before
    std::uint32_t position = 0;     // of the answer in the queue
  };

  unsigned char* host_arena() const noexcept {
    return reinterpret_cast<unsigned char*>(&host_) + arena_offset<host_file>;
  }
  const unsigned char* child_arena() const noexcept {
    return reinterpret_cast<const unsigned char*>(&child_) + arena_offset<child_file>;
  }

  // Under the lock.
  bool reserve(module_call& c, std::uint64_t size, std::uint32_t& cell) noexcept;
  bool put(std::uint32_t entry) noexcept;
  void put_call(std::uint32_t cell) noexcept;
  bool look_at_taken() noexcept;
  void free_answers() noexcept;
  module_call* close_slot(std::uint32_t cell) noexcept;
  void free_cell(std::uint32_t cell) noexcept;

  void fill(const module_call& c, std::uint32_t cell) noexcept;
  bool wake() noexcept;
  void tell_attention() noexcept;
  void begin_waiting() noexcept;

  bool take_entry(std::uint32_t entry, ring_listener& listener) noexcept;
  bool take_reply(std::uint32_t cell) noexcept;
  bool take_passed(std::uint32_t cell) noexcept;
  bool take_start(entry_kind kind, ring_listener& listener) noexcept;
  bool take_question(std::uint32_t cell, ring_listener& listener) noexcept;
  const unsigned char* copy_names(const plain_cell<outgoing_head>& copy, const foreign_cell& cell,
                                  std::uint64_t size) noexcept;
  template <class Head>
  const unsigned char* copy_out(plain_cell<Head>& copy, const foreign_cell& cell,
                                std::uint64_t size) noexcept;

  host_file& host_;
  child_file& child_;
  const shared_memory& host_memory_;
  const std::uint64_t largest_reply_;

  // How many entries of the other side's queue were taken. Written by `take` alone.
  atomic<std::uint32_t> taken_{0};
  atomic<std::uint64_t> taken_total_{0};
  copy_buffer copies_;        // of `take`
  std::uint64_t copied_ = 0;  // of `take`: bytes
  atomic<bool> copies_large_{false};
  unsigned char names_[largest_names];  // of `take`
  bool has_started_ = false;            // of `take`: the word of the start has come
  // The queue is full: impossible with who keeps to the rules. Written under the lock.
  atomic<bool> broken_{false};

  mutable spin_lock lock_;  // guards all below, but for the generations, which are read without
  std::vector<slot> slots_;
  std::vector<open_question> questions_;
  std::vector<std::uint32_t> free_;  // cells; the last is used next, so that few pages are touched
  arena arena_{arena_size, cell_count + outgoing_count};
  forward_queue<module_call, &module_call::next> waiting_;
  std::uint32_t put_ = 0;          // entries of our queue
  std::uint32_t child_taken_ = 0;  // of them, the last that was believed
  std::uint32_t lookers_ = 0;
  std::uint32_t sleepers_ = 0;     // of them
  std::uint64_t sleeps_ = 0;       // how often somebody began to sleep ...
  std::uint64_t sleeps_seen_ = 0;  // ... until the last look of `wake_sleepers`
  std::uint32_t fillers_ = 0;      // threads that copy into the arena
  bool shut_ = false;
};

// -- Posting -------------------------------------------------------------------------------------

inline call_ring::call_ring(const shared_memory& host, const shared_memory& child,
                            std::uint64_t largest_reply)
    : host_(*reinterpret_cast<host_file*>(host.data())),
      child_(*reinterpret_cast<child_file*>(child.data())),
      host_memory_(host),
      largest_reply_(largest_reply),
      slots_(cell_count),
      questions_(outgoing_count) {
  free_.reserve(cell_count);
  for (std::uint32_t i = cell_count; i-- != 0;) free_.push_back(i);
}

/// A cell, and a block if the call is long.
inline bool call_ring::reserve(module_call& c, std::uint64_t size, std::uint32_t& cell) noexcept {
  if (free_.empty()) return false;
  std::uint64_t block = in_cell;
  if (size > plain_cell<request_head>::room) {
    const auto taken = arena_.take(size);
    if (!taken) return false;
    block = *taken;
  }
  cell = free_.back();
  free_.pop_back();
  slot& s = slots_[cell];
  s.call = &c;
  s.block = block;
  s.generation.fetch_add(1, order::relaxed);
  return true;
}

/// False if there is no room, which the rules exclude: the other side has cheated.
inline bool call_ring::put(std::uint32_t entry) noexcept {
  if (put_ - child_taken_ >= queue_length) {
    static_cast<void>(look_at_taken());
    if (put_ - child_taken_ >= queue_length) {
      broken_.store(true, order::relaxed);
      return false;
    }
  }
  host_.queue.entries[put_ % queue_length].store(entry, order::relaxed);
  ++put_;
  host_.queue.tail.store(put_, order::seq_cst);  // before the look: see child_file::asleep
  return true;
}

/// From now on the other side may reply; so far `fill` has read what the owner of the call may free
/// as soon as it is settled.
inline void call_ring::put_call(std::uint32_t cell) noexcept {
  slots_[cell].put = true;
  child_.claims[cell].store(claim_open, order::relaxed);  // published by the entry
  static_cast<void>(put(to_entry(entry_kind::call, cell)));
  if (slots_[cell].stopped) static_cast<void>(put(to_entry(entry_kind::stop, cell)));
}

/// What the other side says that it has taken: believed if it is possible. False if it is not.
inline bool call_ring::look_at_taken() noexcept {
  const std::uint32_t says = child_.taken.load(order::acquire);
  if (says - child_taken_ > put_ - child_taken_) return false;
  child_taken_ = says;
  return true;
}

inline void call_ring::fill(const module_call& c, std::uint32_t cell) noexcept {
  plain_cell<request_head>& out = host_.requests[cell];
  const std::uint64_t block = slots_[cell].block;
  out.head = {c.id,
              c.deadline,
              c.function,
              c.format,
              static_cast<std::uint32_t>(c.key.size),
              static_cast<std::uint32_t>(c.caller.size),
              c.payload.size,
              block};
  unsigned char* to = block == in_cell ? out.bytes : host_arena() + block;
  for (const troupe_bytes& part : {c.key, c.caller, c.payload}) {
    if (part.size == 0) continue;
    std::memcpy(to, part.data, part.size);
    to += part.size;
  }
}

/// Wakes the other side if it sleeps. Behind every `put`, without the lock.
inline bool call_ring::wake() noexcept {
  if (child_.asleep.load(order::seq_cst) == 0) return false;
  if (child_.asleep.exchange(0, order::seq_cst) == 0) return false;
  shared_wake(child_.asleep);
  return true;
}

/// Under the lock.
inline void call_ring::tell_attention() noexcept {
  const attention how = sleepers_ != 0 ? by_sleeping : lookers_ != 0 ? by_looking : by_event;
  if (host_.looking.load(order::relaxed) != how) host_.looking.store(how, order::seq_cst);
}

inline std::optional<call_ring::ticket> call_ring::begin(module_call& c, bool look) noexcept {
  const std::uint64_t names = c.key.size + c.caller.size;
  if (names > largest_message || c.payload.size > largest_message - names) {
    settle_error(c, errc::too_large, "the call is longer than a message may be");
    return std::nullopt;
  }
  const std::uint64_t size = names + c.payload.size;
  const bool is_long = size > plain_cell<request_head>::room;
  std::uint32_t cell = 0;
  lock_.lock();
  if (shut_) {
    lock_.unlock();
    c.give_back();
    return std::nullopt;
  }
  if (!waiting_.empty() || !reserve(c, size, cell)) {
    waiting_.push_back(c);
    lock_.unlock();
    return std::nullopt;
  }
  ticket t{cell, slots_[cell].generation.load(order::relaxed), false};
  if (look && lookers_++ == 0) tell_attention();
  if (is_long) {  // not under the lock; `end` waits for it
    ++fillers_;
    lock_.unlock();
    fill(c, cell);
    lock_.lock();
    --fillers_;
  } else {
    fill(c, cell);
  }
  put_call(cell);
  lock_.unlock();
  t.woke = wake();
  return t;
}

inline void call_ring::look_away() noexcept {
  const spin_guard guard(lock_);
  --lookers_;
  tell_attention();
}

inline std::uint32_t call_ring::lie_down() noexcept {
  const std::uint32_t seen = taken_.load(order::relaxed);
  const spin_guard guard(lock_);
  ++sleepers_;
  ++sleeps_;
  tell_attention();
  return seen;
}

/// To set a timer costs as much as the rest of a round trip where the machine is a virtual one:
/// hence the wish to do without a deadline.
inline void call_ring::sleep_for_more(std::uint32_t seen, std::int64_t deadline) noexcept {
  // The kernel compares once more: a tail that has moved since lets nobody sleep.
  if (child_.queue.tail.load(order::seq_cst) == seen) {
    shared_wait(child_.queue.tail, seen, deadline);
  }
  get_up();
}

inline void call_ring::get_up() noexcept {
  const spin_guard guard(lock_);
  --sleepers_;
  tell_attention();
}

inline bool call_ring::wake_sleepers() noexcept {
  {
    const spin_guard guard(lock_);
    if (sleepers_ == 0) return false;
    if (std::exchange(sleeps_seen_, sleeps_) != sleeps_) return true;
  }
  shared_wake(child_.queue.tail);
  return true;
}

/// What was in line, now that there may be room.
inline void call_ring::begin_waiting() noexcept {
  for (;;) {
    lock_.lock();
    if (waiting_.empty() || shut_) break;
    module_call& c = waiting_.front();
    const std::uint64_t size = c.key.size + c.caller.size + c.payload.size;
    std::uint32_t cell = 0;
    if (!reserve(c, size, cell)) break;
    static_cast<void>(waiting_.pop_front());
    ++fillers_;
    lock_.unlock();
    fill(c, cell);
    lock_.lock();
    --fillers_;
    put_call(cell);
    lock_.unlock();
    static_cast<void>(wake());
  }
  lock_.unlock();
}

inline void call_ring::stop(std::uint64_t call_id) noexcept {
  lock_.lock();
  bool found = false;
  for (std::uint32_t cell = 0; cell != cell_count && !found && !shut_; ++cell) {
    slot& s = slots_[cell];
    found = s.call != nullptr && s.call->id == call_id;
    if (found && !std::exchange(s.stopped, true) && s.put) {
      static_cast<void>(put(to_entry(entry_kind::stop, cell)));
    }
  }
  lock_.unlock();
  if (found) static_cast<void>(wake());
}

inline bool call_ring::withdraw(std::uint64_t call_id) noexcept {
  const spin_guard guard(lock_);
  const auto is_meant = [call_id](const module_call& c) { return c.id == call_id; };
  for (std::uint32_t cell = 0; cell != cell_count; ++cell) {
    slot& s = slots_[cell];
    if (s.call == nullptr || !is_meant(*s.call)) continue;
    std::uint32_t claim = claim_open;
    // Acquire and release: pairs with the other side's exchange, of which one is the first.
    if (!s.put || !child_.claims[cell].compare_exchange_strong(claim, claim_back, order::acq_rel,
                                                               order::relaxed)) {
      return false;
    }
    s.call = nullptr;
    s.put = false;
    s.back = true;
    s.generation.fetch_add(1, order::release);  // nobody looks for its reply any more
    return true;
  }
  return waiting_.take_first(is_meant) != nullptr;
}

inline void call_ring::close() noexcept {
  forward_queue<module_call, &module_call::next> back;
  {
    const spin_guard guard(lock_);
    if (std::exchange(shut_, true)) return;
    while (module_call* const c = waiting_.pop_front()) back.push_back(*c);
    static_cast<void>(put(to_entry(entry_kind::close, 0)));
  }
  static_cast<void>(wake());
  while (module_call* const c = back.pop_front()) c->give_back();
}

inline void call_ring::go() noexcept {
  host_.go.store(1, order::release);  // pairs with the load in helper::run_module
  shared_wake(host_.go);
}

// -- Answers to the module -----------------------------------------------------------------------

/// The blocks of answers that the other side is done with.
inline void call_ring::free_answers() noexcept {
  static_cast<void>(look_at_taken());
  for (open_question& q : questions_) {
    if (q.block == in_cell) continue;
    if (static_cast<std::int32_t>(child_taken_ - q.position) <= 0) continue;
    arena_.give(std::exchange(q.block, in_cell));
  }
}

inline void call_ring::answer(std::uint32_t cell, std::uint32_t outcome, std::uint32_t code,
                              troupe_bytes bytes) noexcept {
  open_question& q = questions_[cell];
  lock_.lock();
  if (!q.open || std::exchange(q.answering, true)) return lock_.unlock();
  free_answers();
  std::uint64_t block = in_cell;
  if (bytes.size > plain_cell<reply_head>::room) {
    const auto taken = bytes.size <= largest_message ? arena_.take(bytes.size) : std::nullopt;
    if (!taken || q.block != in_cell) {
      if (taken) arena_.give(*taken);
      outcome = troupe_outcome_error;
      code = static_cast<std::uint32_t>(errc::result_lost);
      bytes = {nullptr, 0};
    } else {
      block = *taken;
    }
  }
  plain_cell<reply_head>& out = host_.answers[cell];
  out.head = {outcome, code, bytes.size, block};
  if (block != in_cell) {  // not under the lock; `end` waits for it
    ++fillers_;
    lock_.unlock();
    std::memcpy(host_arena() + block, bytes.data, bytes.size);
    lock_.lock();
    --fillers_;
    q.block = block;
    q.position = put_;
  } else if (bytes.size != 0) {
    std::memcpy(out.bytes, bytes.data, bytes.size);
  }
  // Only now may the other side ask in this cell again.
  q.open = false;
  q.answering = false;
  static_cast<void>(put(to_entry(entry_kind::answer, cell)));
  lock_.unlock();
  static_cast<void>(wake());
}

// -- Taking --------------------------------------------------------------------------------------

inline take_result call_ring::take(ring_listener& listener) noexcept {
  std::uint32_t at = taken_.load(order::relaxed);
  // Pairs with the other side's store behind its entry and cell.
  const std::uint32_t tail = child_.queue.tail.load(order::acquire);
  if (tail - at > queue_length) return take_result::garbage;
  copied_ = 0;
  for (std::uint32_t count = 0; at != tail; ++count) {
    if (count == batch || copied_ >= batch_bytes) return take_result::more;
    const std::uint32_t entry = child_.queue.entries[at % queue_length].load(order::relaxed);
    if (!take_entry(entry, listener)) return take_result::garbage;
    ++at;
    taken_.store(at, order::relaxed);
    taken_total_.fetch_add(1, order::relaxed);
    host_.taken.store(at, order::release);  // pairs with module_runner::free_blocks
    // Whoever listens may want the rest later.
    if (kind_of(entry) == static_cast<std::uint32_t>(entry_kind::started)) break;
  }
  return broken_.load(order::relaxed) ? take_result::garbage : take_result::all;
}

inline bool call_ring::take_entry(std::uint32_t entry, ring_listener& listener) noexcept {
  const auto kind = static_cast<entry_kind>(kind_of(entry));
  const std::uint32_t cell = cell_of(entry);
  switch (kind) {
    case entry_kind::reply:
      return cell < cell_count && take_reply(cell);
    case entry_kind::passed:
      return cell < cell_count && take_passed(cell);
    case entry_kind::outgoing:
      return cell < outgoing_count && has_started_ && take_question(cell, listener);
    case entry_kind::started:
    case entry_kind::refused:
      return cell == start_cell && !std::exchange(has_started_, true) && take_start(kind, listener);
    default:
      return false;
  }
}

/// Copies the bytes of a message out: from the copy of its cell, or from the arena. Null: they are
/// not where they are said to be, or there is no memory.
template <class Head>
const unsigned char* call_ring::copy_out(plain_cell<Head>& copy, const foreign_cell& cell,
                                         std::uint64_t size) noexcept {
  if (size > largest_message) return nullptr;
  const std::uint64_t block = copy.head.block;
  if (block == in_cell) {
    if (size > plain_cell<Head>::room) return nullptr;
    // The head is not read again: what it says now may be something else.
    const Head head = copy.head;
    cell.copy_to(&copy, sizeof(Head) + static_cast<std::size_t>(size));
    copy.head = head;
    return copy.bytes;
  }
  if (block > arena_size || size > arena_size - block) return nullptr;
  unsigned char* const to = copies_.room(size == 0 ? 1 : size);
  if (to != nullptr) std::memcpy(to, child_arena() + block, size);
  copied_ += size;
  if (size > tidy_above) copies_large_.store(true, order::relaxed);
  return to;
}

/// Takes the cell from its call; null if it has none. Under the lock.
inline module_call* call_ring::close_slot(std::uint32_t cell) noexcept {
  slot& s = slots_[cell];
  module_call* const call = std::exchange(s.call, nullptr);
  if (call == nullptr) return nullptr;
  free_cell(cell);
  return call;
}

/// Under the lock.
inline void call_ring::free_cell(std::uint32_t cell) noexcept {
  slot& s = slots_[cell];
  if (s.block != in_cell) arena_.give(std::exchange(s.block, in_cell));
  s.put = false;
  s.back = false;
  s.stopped = false;
  s.generation.fetch_add(1, order::release);
  free_.push_back(cell);
}

inline bool call_ring::take_passed(std::uint32_t cell) noexcept {
  {
    const spin_guard guard(lock_);
    if (!slots_[cell].back) return false;
    free_cell(cell);
  }
  begin_waiting();
  return true;
}

inline bool call_ring::take_reply(std::uint32_t cell) noexcept {
  const foreign_cell& from = child_.replies[cell];
  plain_cell<reply_head> copy;
  from.copy_to(&copy, sizeof copy.head);
  if (copy.head.outcome > troupe_outcome_error) return false;
  {
    const spin_guard guard(lock_);
    // Nobody's, or still being copied in. From here on nobody withdraws it, whether the other side
    // has begun it or not; if this turns out to be garbage, `end` has the call.
    if (!std::exchange(slots_[cell].put, false)) return false;
  }
  if (copy.head.size > largest_message) return false;
  const bool is_taken = copy.head.size <= largest_reply_;
  const unsigned char* const bytes = is_taken ? copy_out(copy, from, copy.head.size) : nullptr;
  if (is_taken && bytes == nullptr) return false;
  module_call* call = nullptr;
  {
    const spin_guard guard(lock_);
    call = close_slot(cell);  // it is there: only who takes closes it, and `end` comes later
  }
  if (call == nullptr) return false;
  if (is_taken) {
    call->settle(call, copy.head.outcome, copy.head.code, {bytes, copy.head.size});
  } else {
    settle_error(*call, errc::too_large, "the reply is longer than its host takes");
  }
  begin_waiting();
  return true;
}

inline bool call_ring::take_start(entry_kind kind, ring_listener& listener) noexcept {
  const foreign_cell& from = child_.replies[start_cell];
  plain_cell<reply_head> copy;
  from.copy_to(&copy, sizeof copy.head);
  if (kind == entry_kind::refused && copy.head.size > largest_names) return false;
  const unsigned char* const bytes = copy_out(copy, from, copy.head.size);
  if (bytes == nullptr) return false;
  if (kind == entry_kind::started) {
    listener.started({bytes, copy.head.size});
  } else {
    listener.refused({reinterpret_cast<const char*>(bytes), copy.head.size});
  }
  return true;
}

/// The names of a question, to where the rest of it does not overwrite them. Null as in `copy_out`.
inline const unsigned char* call_ring::copy_names(const plain_cell<outgoing_head>& copy,
                                                  const foreign_cell& cell,
                                                  std::uint64_t size) noexcept {
  const std::uint64_t block = copy.head.block;
  if (block == in_cell) {
    if (size > plain_cell<outgoing_head>::room) return nullptr;
    plain_cell<outgoing_head> whole;
    cell.copy_to(&whole, sizeof whole.head + static_cast<std::size_t>(size));
    std::memcpy(names_, whole.bytes, static_cast<std::size_t>(size));
    return names_;
  }
  if (block > arena_size || size > arena_size - block) return nullptr;
  std::memcpy(names_, child_arena() + block, static_cast<std::size_t>(size));
  return names_;
}

inline bool call_ring::take_question(std::uint32_t cell, ring_listener& listener) noexcept {
  const foreign_cell& from = child_.outgoing[cell];
  plain_cell<outgoing_head> copy;
  from.copy_to(&copy, sizeof copy.head);
  const outgoing_head& head = copy.head;
  const std::uint64_t names =
      std::uint64_t{head.module_size} + head.version_size + head.function_size + head.key_size;
  if (names > largest_names || head.payload_size > largest_message - names) return false;
  const unsigned char* const named = copy_names(copy, from, names);
  if (named == nullptr) return false;
  {
    const spin_guard guard(lock_);
    if (std::exchange(questions_[cell].open, true)) return false;
  }
  const char* text = reinterpret_cast<const char*>(named);
  const auto next = [&text](std::uint32_t size) {
    return std::string_view(std::exchange(text, text + size), size);
  };
  const std::string_view module = next(head.module_size);
  const std::string_view version = next(head.version_size);
  const std::string_view function = next(head.function_size);
  const std::string_view key = next(head.key_size);
  if (!listener.permits(cell, module)) return true;
  const unsigned char* const bytes = copy_out(copy, from, names + head.payload_size);
  if (bytes == nullptr) return false;
  listener.asked({cell,
                  head.format,
                  head.deadline,
                  module,
                  version,
                  function,
                  key,
                  {bytes + names, head.payload_size}});
  return true;
}

// -- The end -------------------------------------------------------------------------------------

inline void call_ring::shut() noexcept {
  const spin_guard guard(lock_);
  shut_ = true;
}

inline void call_ring::end(errc why, std::string_view detail) noexcept {
  forward_queue<module_call, &module_call::next> back;
  forward_queue<module_call, &module_call::next> begun;
  for (;;) {  // threads that copy a call into the arena are about to put it into the queue
    lock_.lock();
    if (fillers_ == 0) break;
    lock_.unlock();
    std::this_thread::yield();
  }
  if (!look_at_taken()) child_taken_ = put_;  // it lies: it may have begun anything
  for (std::uint32_t at = child_taken_; at != put_; ++at) {
    const std::uint32_t entry = host_.queue.entries[at % queue_length].load(order::relaxed);
    if (kind_of(entry) != static_cast<std::uint32_t>(entry_kind::call)) continue;
    // The word is our own, but where the file cannot be sealed the other side may have written it.
    if (cell_of(entry) >= cell_count) continue;
    if (module_call* const c = close_slot(cell_of(entry))) back.push_back(*c);
  }
  for (std::uint32_t cell = 0; cell != cell_count; ++cell) {
    if (module_call* const c = close_slot(cell)) begun.push_back(*c);
  }
  while (module_call* const c = waiting_.pop_front()) back.push_back(*c);
  lock_.unlock();

  shared_wake(child_.queue.tail);  // who sleeps there for a reply
  while (module_call* const c = begun.pop_front()) settle_error(*c, why, detail);
  while (module_call* const c = back.pop_front()) c->give_back();
}

inline bool call_ring::begins_none() const noexcept {
  if (has_more()) return false;  // a reply, or that it has passed one
  const spin_guard guard(lock_);
  bool some = !waiting_.empty();
  for (std::uint32_t cell = 0; cell != cell_count; ++cell) {
    const slot& s = slots_[cell];
    some = some || s.back;
    if (s.call == nullptr || !s.put) continue;
    if (child_.claims[cell].load(order::relaxed) != claim_open) return false;
    some = true;
  }
  return some;
}

inline bool call_ring::idle() const noexcept {
  const spin_guard guard(lock_);
  return free_.size() == cell_count;
}

inline bool call_ring::untidy() const noexcept {
  if (copies_large_.load(order::relaxed)) return true;
  const spin_guard guard(lock_);
  return arena_.highest() > tidy_above;
}

inline void call_ring::tidy() noexcept {
  const spin_guard guard(lock_);
  free_answers();
  if (!arena_.empty() || arena_.highest() <= tidy_above) return;
  host_memory_.discard(arena_offset<host_file>, arena_.highest());
  arena_.forget_highest();
}

}  // namespace troupe::detail::sandbox
