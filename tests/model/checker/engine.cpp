// SPDX-License-Identifier: MIT
// The engine: runs one execution after the other, one virtual thread at a time, and decides before
// each atomic operation who goes on, and for each load which store it reads.

#include <model/checker/checker.hpp>
#include <model/checker/choices.hpp>
#include <model/checker/clock.hpp>
#include <model/checker/engine.hpp>
#include <model/checker/fiber.hpp>
#include <model/checker/heap.hpp>
#include <model/checker/memory.hpp>
#include <model/checker/sites.hpp>
#include <model/checker/total_order.hpp>

#include <troupe/config.hpp>
#include <troupe/coro/thread_state.hpp>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <utility>

namespace troupe::model {
namespace {

enum class status : std::uint8_t { unused, ready, joining, sleeping, ended };

struct virtual_thread {
  status now = status::unused;
  clock known;
  bool spins = false;             // gives way until somebody else has written
  bool looks_afresh = false;      // its next load reads the newest store
  std::uint64_t writes = 0;       // its own, so far
  std::uint64_t seen_writes = 0;  // the others', when it began to spin
  const void* sleeps_on = nullptr;
  bool limited = false;    // sleeps with a time limit
  bool timed_out = false;  // that is why it woke
  bool spurious = false;
  unsigned waits_for = 0;  // the thread it joins
  void (*run)(void*) = nullptr;
  void* argument = nullptr;
  std::int64_t priority = 0;  // of a random schedule
  bool abandoned = true;      // its fiber has to be made anew
  detail::thread_state state;
};

struct kept_static {
  void* object;
  std::vector<char> bytes;
};

class engine {
public:
  verdict explore(void (*body)(), const limits& l, const weakening* weaker, std::uint64_t count,
                  std::uint64_t seed);
  choices choose;

  bool running() const noexcept { return running_; }
  virtual_thread& self() noexcept { return threads_[current_]; }

  // --- operations
  void construct(word w) noexcept;
  void destroy(word w) noexcept;
  std::uint64_t load(word w, std::memory_order o, const place& at) noexcept;
  void store(word w, std::uint64_t value, std::memory_order o, const place& at) noexcept;
  std::uint64_t modify(word w, change how, std::uint64_t operand, std::memory_order o,
                       const place& at) noexcept;
  bool swap_if(word w, std::uint64_t& expected, std::uint64_t desired, std::memory_order success,
               std::memory_order failure, bool weak, const place& at) noexcept;
  bool wait(word w, std::uint64_t expected, bool limited, const place& at) noexcept;
  void wake(const void* bytes, bool all, const place& at) noexcept;
  void read_plain(tag& known, const void* object, const place& at) noexcept;
  void write_plain(tag& known, const void* object, const place& at) noexcept;
  void destroy_plain(tag& known, const void* object) noexcept;

  // --- threads
  unsigned begin(void (*run)(void*), void* argument) noexcept;
  void join(unsigned index) noexcept;
  void spin() noexcept;
  [[noreturn]] void fail(std::string_view what, const place* at) noexcept;
  void note(std::int64_t outcome) { result_.outcomes.insert(outcome); }
  void keep_static(void* object, std::size_t size);
  site_table& all_sites() noexcept { return sites_; }

private:
  struct candidates {
    unsigned index[max_threads];
    unsigned count = 0;
    unsigned allowed = 0;
    void add(unsigned i) noexcept { index[count++] = i; }
  };

  void run_once(void (*body)());
  static void enter(void* index) noexcept;
  void run_thread(unsigned index) noexcept;
  void pass_on() noexcept;
  candidates who_may_run() noexcept;
  void add_stalled(candidates& c) noexcept;
  unsigned pick(const candidates& c) noexcept;
  unsigned pick_by_priority(const candidates& c) noexcept;
  void switch_to(unsigned index) noexcept;
  bool can_run(unsigned index) const noexcept;
  std::uint64_t writes_of_others(unsigned index) const noexcept;
  void reset() noexcept;
  void restore() noexcept;

  location& locate(word w) noexcept;
  location& begin_operation(word w, const place& at) noexcept;
  std::size_t choose_store(location& l, std::memory_order o, bool fresh) noexcept;
  bool may_read(const location& l, std::size_t i, std::memory_order o) const noexcept;
  sc_operation operation_at(const location& l) const noexcept;
  std::uint64_t read(location& l, std::size_t i, std::memory_order o) noexcept;
  std::uint64_t update(word w, location& l, std::uint64_t value, std::memory_order o) noexcept;
  void put(word w, location& l, std::uint64_t value, std::memory_order o, bool reads) noexcept;
  plain& locate_plain(tag& known, const void* object) noexcept;
  void step(const place& at) noexcept;

  template <class... Parts>
  void trace(const place& at, const Parts&... parts) noexcept;

  limits bounds_;
  const weakening* weaker_ = nullptr;
  bool running_ = false;
  bool tracing_ = false;
  bool failed_ = false;
  std::uint32_t execution_ = 0;
  std::uint32_t steps_ = 0;
  unsigned current_ = 0;
  unsigned thread_count_ = 0;
  unsigned preemptions_ = 0;
  unsigned stale_reads_ = 0;
  unsigned spurious_ = 0;
  unsigned timeouts_ = 0;
  unsigned stalls_ = 0;
  std::uint64_t all_writes_ = 0;
  std::uint64_t writes_at_stall_ = 0;
  std::int64_t lowest_ = 0;
  std::vector<std::uint32_t> drops_;  // of a random schedule: steps at which a priority falls
  virtual_thread threads_[max_threads];
  fiber fibers_[max_threads];
  fiber explorer_;
  std::vector<location> locations_;
  std::size_t location_count_ = 0;
  total_order sc_order_;
  std::vector<plain> plains_;
  std::size_t plain_count_ = 0;
  std::vector<kept_static> statics_;
  void (*body_)() = nullptr;
  verdict result_;
  std::string what_;
  site_table sites_;
};

engine& the_engine() {
  static engine e;
  return e;
}

engine* active = nullptr;  // while an execution runs

void on_signal(int number);

/// What goes wrong in the code under test ends an execution, not the program.
class signal_guard {
public:
  signal_guard() noexcept {
    static char stack[std::size_t{64} << 10];
    stack_t alternative = {};
    alternative.ss_sp = stack;
    alternative.ss_size = sizeof stack;
    ::sigaltstack(&alternative, &stack_before_);
    struct sigaction action = {};
    action.sa_handler = &on_signal;
    action.sa_flags = SA_ONSTACK | SA_NODEFER;
    for (std::size_t i = 0; i != count; ++i) ::sigaction(numbers[i], &action, &before_[i]);
  }
  signal_guard(const signal_guard&) = delete;
  signal_guard& operator=(const signal_guard&) = delete;
  ~signal_guard() {
    for (std::size_t i = 0; i != count; ++i) ::sigaction(numbers[i], &before_[i], nullptr);
    ::sigaltstack(&stack_before_, nullptr);
  }

private:
  static constexpr std::size_t count = 5;
  static constexpr int numbers[count] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

  struct sigaction before_[count];
  stack_t stack_before_;
};

std::uint64_t read_bytes(const void* bytes, std::uint32_t size) noexcept {
  std::uint64_t value = 0;
  std::memcpy(&value, bytes, size);
  return value;
}
void write_bytes(void* bytes, std::uint32_t size, std::uint64_t value) noexcept {
  std::memcpy(bytes, &value, size);
}
std::uint64_t cut(std::uint64_t value, std::uint32_t size) noexcept {
  return size == sizeof value ? value : value & ((std::uint64_t{1} << (8 * size)) - 1);
}

std::uint64_t changed(change how, std::uint64_t value, std::uint64_t operand) noexcept {
  switch (how) {
    case change::exchange:
      return operand;
    case change::add:
      return value + operand;
    case change::subtract:
      return value - operand;
    case change::bit_or:
      return value | operand;
    case change::bit_and:
      return value & operand;
  }
  return value;
}

const char* verb(change how) noexcept {
  switch (how) {
    case change::exchange:
      return "exchange";
    case change::add:
      return "fetch_add";
    case change::subtract:
      return "fetch_sub";
    case change::bit_or:
      return "fetch_or";
    case change::bit_and:
      return "fetch_and";
  }
  return "";
}

// --- who runs -----------------------------------------------------------------------------------

std::uint64_t engine::writes_of_others(unsigned index) const noexcept {
  return all_writes_ - threads_[index].writes;
}

bool engine::can_run(unsigned index) const noexcept {
  const virtual_thread& t = threads_[index];
  switch (t.now) {
    case status::ready:
      return !t.spins || writes_of_others(index) != t.seen_writes;
    case status::joining:
      return threads_[t.waits_for].now == status::ended;
    default:
      return false;
  }
}

/// The running thread first, if it can go on; then the others; then those that would wake by
/// themselves.
engine::candidates engine::who_may_run() noexcept {
  candidates c;
  const bool goes_on = can_run(current_);
  if (goes_on) c.add(current_);
  for (unsigned i = 1; i != thread_count_; ++i) {
    const unsigned other = (current_ + i) % thread_count_;
    if (can_run(other)) c.add(other);
  }
  const bool may_switch =
      !goes_on || choose.from() == choices::source::random || preemptions_ < bounds_.preemptions;
  c.allowed = may_switch ? c.count : 1;
  if (c.count == 0) {
    add_stalled(c);
    return c;
  }
  for (unsigned i = 0; i != thread_count_; ++i) {
    if (threads_[i].now == status::sleeping && threads_[i].limited) c.add(i);
  }
  if (may_switch && timeouts_ < bounds_.timeouts) c.allowed = c.count;
  return c;
}

/// Nobody can go on but who spins, or sleeps for a limited time. Those that spin look once more,
/// one after the other, since their last look may have been at an old store; then time passes.
void engine::add_stalled(candidates& c) noexcept {
  stalls_ = all_writes_ == writes_at_stall_ ? stalls_ + 1 : 0;
  writes_at_stall_ = all_writes_;
  const bool time_passes = stalls_ > 2 * max_threads;
  for (const bool limited : {time_passes, !time_passes}) {
    for (unsigned i = 1; i <= thread_count_; ++i) {
      const unsigned other = (current_ + i) % thread_count_;
      const virtual_thread& t = threads_[other];
      if (t.now == (limited ? status::sleeping : status::ready) && (!limited || t.limited)) {
        c.add(other);
      }
    }
    if (c.allowed == 0) c.allowed = limited ? c.count : std::min(c.count, 1u);
  }
  if (c.count == 0) fail("deadlock: every thread waits", nullptr);
  if (stalls_ > 8 * max_threads) fail("livelock: all that can run spins", nullptr);
}

unsigned engine::pick(const candidates& c) noexcept {
  if (c.count == 1) return c.index[0];
  if (choose.from() == choices::source::random) return pick_by_priority(c);
  return c.index[choose.choose(c.count, c.allowed)];
}

/// S. Burckhardt et al., "A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs",
/// ASPLOS 2010: the thread of the highest priority runs, and at a few random steps falls to the
/// lowest. Who would wake by a time limit seldom does.
unsigned engine::pick_by_priority(const candidates& c) noexcept {
  if (std::find(drops_.begin(), drops_.end(), steps_) != drops_.end()) {
    self().priority = --lowest_;
  }
  if (self().spins) self().priority = --lowest_;
  unsigned best = 0;
  for (unsigned i = 1; i != c.count; ++i) {
    const virtual_thread& t = threads_[c.index[i]];
    const bool wakes_itself = t.now == status::sleeping;
    if (wakes_itself && (i >= c.allowed || choose.random() % 16 != 0)) continue;
    if (t.priority > threads_[c.index[best]].priority) best = i;
  }
  choose.note(best);
  return c.index[best];
}

/// A point at which another thread may go on instead of the running one.
void engine::pass_on() noexcept {
  const unsigned next = pick(who_may_run());
  virtual_thread& t = threads_[next];
  if (next != current_ && can_run(current_)) ++preemptions_;
  if (t.now == status::sleeping) {
    t.timed_out = true;
    t.now = status::ready;
    ++timeouts_;
  } else if (t.now == status::joining) {
    t.now = status::ready;
  }
  if (t.spins) {
    t.spins = false;
    t.looks_afresh = true;
  }
  if (next != current_) switch_to(next);
}

void engine::switch_to(unsigned index) noexcept {
  fiber& from = fibers_[current_];
  current_ = index;
  virtual_thread& t = threads_[index];
  if (t.abandoned) {
    t.abandoned = false;
    fibers_[index].restart(&engine::enter,
                           reinterpret_cast<void*>(static_cast<std::uintptr_t>(index)));
  }
  from.switch_to(fibers_[index]);
}

void engine::enter(void* index) noexcept {
  the_engine().run_thread(static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(index)));
}

/// One stack runs one thread after the other, in execution after execution.
void engine::run_thread(unsigned index) noexcept {
  for (;;) {
    virtual_thread& t = threads_[index];
    heap::in_use = true;
    try {
      t.run(t.argument);
    } catch (const std::exception& e) {
      fail(std::string("an exception leaves a thread: ") + e.what(), nullptr);
    } catch (...) {
      fail("an exception leaves a thread", nullptr);
    }
    heap::in_use = false;
    t.now = status::ended;
    if (index == 0) {
      fibers_[0].switch_to(explorer_);
    } else {
      pass_on();
    }
  }
}

unsigned engine::begin(void (*run)(void*), void* argument) noexcept {
  if (thread_count_ == max_threads) fail("too many threads", nullptr);
  const unsigned index = thread_count_++;
  virtual_thread& t = threads_[index];
  t.now = status::ready;
  t.run = run;
  t.argument = argument;
  ++self().known.at[current_];
  t.known = self().known;
  t.known.at[index] = 1;
  return index;
}

void engine::join(unsigned index) noexcept {
  const heap::outside mine;
  virtual_thread& t = self();
  if (threads_[index].now != status::ended) {
    t.now = status::joining;
    t.waits_for = index;
    pass_on();
  }
  t.known.join(threads_[index].known);
}

/// In a loop that waits by looking: the thread goes on when somebody else has written something.
void engine::spin() noexcept {
  const heap::outside mine;
  virtual_thread& t = self();
  t.spins = true;
  t.seen_writes = writes_of_others(current_);
  if (++steps_ > bounds_.steps)
    fail("no end after so many steps: livelock, or a low bound", nullptr);
  pass_on();
  t.spins = false;
  t.looks_afresh = true;
}

// --- memory -------------------------------------------------------------------------------------

void engine::step(const place& at) noexcept {
  if (++steps_ > bounds_.steps) fail("no end after so many steps: livelock, or a low bound", &at);
}

void engine::construct(word w) noexcept {
  const heap::outside mine;
  if (location_count_ == locations_.size()) locations_.emplace_back();
  w.known = tag{static_cast<std::uint32_t>(location_count_), execution_};
  location& l = locations_[location_count_++];
  virtual_thread& t = self();
  ++t.known.at[current_];
  l.history.clear();
  l.touched = clock();
  l.touched.at[current_] = t.known.at[current_];
  l.creator = current_;
  l.created = t.known.at[current_];
  l.alive = true;
  l.bytes = w.bytes;
  l.size = w.size;
  stored s;
  s.value = read_bytes(w.bytes, w.size);
  s.seen.at[current_] = l.created;
  l.history.push_back(s);
}

void engine::destroy(word w) noexcept {
  const heap::outside mine;
  location& l = locate(w);
  l.alive = false;
  const bool ordered = self().known.covers(l.touched);
  w.known.execution = tag::destroyed;
  if (!ordered) fail("destroyed while another thread may still use it", nullptr);
}

/// The record of an object; made, where it is older than the execution.
location& engine::locate(word w) noexcept {
  if (w.known.execution == execution_) return locations_[w.known.record];
  if (w.known.execution == tag::destroyed) fail("used after its end", nullptr);
  if (heap::holds(w.bytes)) {
    fail(heap::deleted(w.bytes) ? "used after its memory was given back" : "used before its begin",
         nullptr);
  }
  for (const fiber& f : fibers_) {
    if (f.holds(w.bytes)) fail("used after its stack frame was left", nullptr);
  }
  construct(w);
  location& l = locations_[w.known.record];
  l.created = 0;
  l.touched = clock();
  l.history[0].seen = clock();
  l.value_before = l.history[0].value;
  return l;
}

location& engine::begin_operation(word w, const place& at) noexcept {
  step(at);
  pass_on();
  location& l = locate(w);
  virtual_thread& t = self();
  ++t.known.at[current_];
  if (l.created > t.known.at[l.creator]) fail("used before its construction is visible", &at);
  l.touched.at[current_] = t.known.at[current_];
  return l;
}

sc_operation engine::operation_at(const location& l) const noexcept {
  sc_operation o;
  o.thread = current_;
  o.before = threads_[current_].known;
  o.step = o.before.at[current_];
  o.where = &l;
  return o;
}

/// True if a load that coherence allows to read this store is allowed to by the total order.
bool engine::may_read(const location& l, std::size_t i, std::memory_order o) const noexcept {
  if (o != std::memory_order_seq_cst || i + 1 == l.history.size()) return true;
  if (sc_order_.full()) return false;
  sc_operation op = operation_at(l);
  op.reads = i;
  return sc_order_.allows(op);
}

/// Which store a load reads.
std::size_t engine::choose_store(location& l, std::memory_order o, bool fresh) noexcept {
  const std::size_t newest = l.history.size() - 1;
  if (fresh) return newest;
  std::size_t oldest = l.floor_for(self().known);
  // If the order forbids a store, it forbids the older ones.
  for (std::size_t i = newest; i > oldest; --i) {
    if (!may_read(l, i - 1, o)) oldest = i;
  }
  const auto count = static_cast<unsigned>(newest - oldest + 1);
  if (count <= 1) return newest;
  const unsigned allowed = stale_reads_ < bounds_.stale_reads ? count : 1;
  unsigned back = 0;
  if (choose.from() == choices::source::random && choose.random() % 2 != 0) {
    choose.note(0);
  } else {
    back = choose.choose(count, allowed);
  }
  if (back != 0) ++stale_reads_;
  return newest - back;
}

std::uint64_t engine::read(location& l, std::size_t i, std::memory_order o) noexcept {
  if (o == std::memory_order_seq_cst) {
    sc_operation op = operation_at(l);
    op.reads = i;
    sc_order_.add(op);
  }
  return l.read(i, current_, self().known, o);
}

/// Reads the newest store and writes the next, in one step. Returns what was read.
std::uint64_t engine::update(word w, location& l, std::uint64_t value,
                             std::memory_order o) noexcept {
  if (o == std::memory_order_seq_cst) {
    sc_operation op = operation_at(l);
    op.reads = l.history.size() - 1;
    op.writes = l.history.size();
    sc_order_.add(op);
  }
  const std::uint64_t before = l.read(l.history.size() - 1, current_, self().known, o);
  put(w, l, value, o, true);
  return before;
}

std::uint64_t engine::load(word w, std::memory_order o, const place& at) noexcept {
  const heap::outside mine;
  const std::uint32_t s = sites_.find(at, "load", o, o, true, false);
  if (weaker_ != nullptr && weaker_->site == s) o = weaker_->to;
  location& l = begin_operation(w, at);
  virtual_thread& t = self();
  const bool fresh = std::exchange(t.looks_afresh, false);
  const std::size_t i = choose_store(l, o, fresh);
  const std::uint64_t value = read(l, i, o);
  trace(at, "load ", o, w, value, i == l.history.size() - 1 ? "" : " (not the newest)");
  return value;
}

void engine::put(word w, location& l, std::uint64_t value, std::memory_order o,
                 bool reads) noexcept {
  value = cut(value, w.size);
  l.write(value, current_, self().known, o, reads);
  write_bytes(w.bytes, w.size, value);
  ++all_writes_;
  ++self().writes;
}

void engine::store(word w, std::uint64_t value, std::memory_order o, const place& at) noexcept {
  const heap::outside mine;
  const std::uint32_t s = sites_.find(at, "store", o, o, false, true);
  if (weaker_ != nullptr && weaker_->site == s) o = weaker_->to;
  location& l = begin_operation(w, at);
  if (o == std::memory_order_seq_cst) {
    sc_operation op = operation_at(l);
    op.writes = l.history.size();
    sc_order_.add(op);
  }
  put(w, l, value, o, false);
  trace(at, "store ", o, w, value, "");
}

std::uint64_t engine::modify(word w, change how, std::uint64_t operand, std::memory_order o,
                             const place& at) noexcept {
  const heap::outside mine;
  const std::uint32_t s = sites_.find(at, verb(how), o, o, true, true);
  if (weaker_ != nullptr && weaker_->site == s) o = weaker_->to;
  location& l = begin_operation(w, at);
  self().looks_afresh = false;
  const std::uint64_t before = l.history.back().value;
  update(w, l, changed(how, before, operand), o);
  trace(at, std::string(verb(how)) + " ", o, w, before,
        tracing_ ? " -> " + hex(l.history.back().value) : "");
  return before;
}

/// Alternatives: what the newest store makes of it; that it fails by an older one; that it fails
/// without reason.
bool engine::swap_if(word w, std::uint64_t& expected, std::uint64_t desired,
                     std::memory_order success, std::memory_order failure, bool weak,
                     const place& at) noexcept {
  const heap::outside mine;
  const std::uint32_t s = sites_.find(at, "compare_exchange", success, failure, true, true);
  if (weaker_ != nullptr && weaker_->site == s) {
    (weaker_->of_failure ? failure : success) = weaker_->to;
  }
  location& l = begin_operation(w, at);
  virtual_thread& t = self();
  const bool fresh = std::exchange(t.looks_afresh, false);
  const std::size_t newest = l.history.size() - 1;
  const std::size_t floor = fresh ? newest : l.floor_for(t.known);
  unsigned older = 0;
  for (std::size_t i = newest; i-- > floor && may_read(l, i, failure);) {
    if (l.history[i].value != expected) ++older;
  }
  const bool matches = l.history[newest].value == expected;
  const bool may_be_spurious = weak && matches && bounds_.spurious != 0;
  const unsigned count = 1 + older + (may_be_spurious ? 1 : 0);
  unsigned allowed = stale_reads_ < bounds_.stale_reads ? 1 + older : 1;
  if (allowed == 1 + older && spurious_ < bounds_.spurious) allowed = count;
  unsigned chosen = 0;
  if (count > 1) {
    if (choose.from() == choices::source::random && choose.random() % 4 != 0) {
      choose.note(0);
    } else {
      chosen = choose.choose(count, allowed);
    }
  }
  if (chosen == 0 && matches) {
    update(w, l, desired, success);
    trace(at, "compare_exchange ", success, w, expected,
          tracing_ ? " -> " + hex(l.history.back().value) : "");
    return true;
  }
  std::size_t i = newest;
  if (chosen > older) {
    ++spurious_;
  } else if (chosen != 0) {
    ++stale_reads_;
    for (unsigned left = chosen; left != 0;) {
      if (l.history[--i].value != expected) --left;
    }
  }
  expected = read(l, i, failure);
  trace(at, "compare_exchange ", failure, w, expected, " fails");
  return false;
}

// --- sleeping -----------------------------------------------------------------------------------

/// The comparison reads the newest value: whoever stored it before calls `wake` later, or has seen
/// nobody asleep when this was not.
bool engine::wait(word w, std::uint64_t expected, bool limited, const place& at) noexcept {
  const heap::outside mine;
  location& l = begin_operation(w, at);
  virtual_thread& t = self();
  t.looks_afresh = false;
  const std::uint64_t value =
      l.read(l.history.size() - 1, current_, t.known, std::memory_order_relaxed);
  if (value != expected) {
    trace(at, "wait: not equal ", std::memory_order_relaxed, w, value, "");
    return true;
  }
  if (bounds_.spurious != 0 && choose.choose(2, spurious_ < bounds_.spurious ? 2 : 1) == 1) {
    ++spurious_;
    trace(at, "wait: wakes without reason ", std::memory_order_relaxed, w, value, "");
    return true;
  }
  trace(at, "wait: sleeps ", std::memory_order_relaxed, w, value, "");
  t.now = status::sleeping;
  t.sleeps_on = w.bytes;
  t.limited = limited;
  t.timed_out = false;
  pass_on();
  t.sleeps_on = nullptr;
  if (t.timed_out) trace(at, "wait: time is up ", std::memory_order_relaxed, w, value, "");
  return !t.timed_out;
}

void engine::wake(const void* bytes, bool all, const place& at) noexcept {
  const heap::outside mine;
  step(at);
  pass_on();
  for (;;) {
    candidates asleep;
    for (unsigned i = 0; i != thread_count_; ++i) {
      if (threads_[i].now == status::sleeping && threads_[i].sleeps_on == bytes) asleep.add(i);
    }
    if (asleep.count == 0) return;
    const unsigned which = choose.choose(asleep.count, asleep.count);
    threads_[asleep.index[which]].now = status::ready;
    if (!all) return;
  }
}

// --- plain variables ----------------------------------------------------------------------------

plain& engine::locate_plain(tag& known, const void* object) noexcept {
  if (known.execution == execution_) return plains_[known.record];
  if (known.execution == tag::destroyed) fail("a variable is used after its end", nullptr);
  if (heap::deleted(object)) fail("a variable is used after its memory was given back", nullptr);
  if (plain_count_ == plains_.size()) plains_.emplace_back();
  known = tag{static_cast<std::uint32_t>(plain_count_), execution_};
  return plains_[plain_count_++] = plain();
}

void engine::read_plain(tag& known, const void* object, const place& at) noexcept {
  const heap::outside mine;
  plain& p = locate_plain(known, object);
  virtual_thread& t = self();
  ++t.known.at[current_];
  if (p.written > t.known.at[p.writer]) fail("data race: read beside a write", &at);
  p.read.at[current_] = t.known.at[current_];
}

void engine::write_plain(tag& known, const void* object, const place& at) noexcept {
  const heap::outside mine;
  plain& p = locate_plain(known, object);
  virtual_thread& t = self();
  ++t.known.at[current_];
  if (p.written > t.known.at[p.writer]) fail("data race: written beside a write", &at);
  if (!t.known.covers(p.read)) fail("data race: written beside a read", &at);
  p.writer = current_;
  p.written = t.known.at[current_];
  p.read = clock();
}

void engine::destroy_plain(tag& known, const void* object) noexcept {
  write_plain(known, object, place::current());
  known.execution = tag::destroyed;
}

// --- executions ---------------------------------------------------------------------------------

void engine::fail(std::string_view what, const place* at) noexcept {
  heap::in_use = false;
  failed_ = true;
  what_ = what;
  if (at != nullptr) {
    what_ += " (" + short_name(at->file_name()) + ":" + std::to_string(at->line()) + ")";
  }
  if (tracing_) {
    result_.interleaving += "  thread " + std::to_string(current_) + "  " + what_ + '\n';
  }
  for (virtual_thread& t : threads_) t.abandoned = true;
  fiber::abandon_for(explorer_);
}

template <class... Parts>
void engine::trace(const place& at, const Parts&... parts) noexcept {
  if (!tracing_) return;
  result_.interleaving += "  thread " + std::to_string(current_) + "  " +
                          short_name(at.file_name()) + ":" + std::to_string(at.line()) + "  ";
  const auto add = [this](const auto& part) {
    using type = std::remove_cvref_t<decltype(part)>;
    if constexpr (std::is_same_v<type, std::memory_order>) {
      result_.interleaving += model::name_of(part);
    } else if constexpr (std::is_same_v<type, word>) {
      result_.interleaving += "  #" + std::to_string(part.known.record);
    } else if constexpr (std::is_same_v<type, std::uint64_t>) {
      result_.interleaving += " = " + hex(part);
    } else {
      result_.interleaving += part;
    }
  };
  (add(parts), ...);
  result_.interleaving += '\n';
}

void engine::reset() noexcept {
  ++execution_;
  steps_ = preemptions_ = stale_reads_ = spurious_ = timeouts_ = stalls_ = 0;
  all_writes_ = 0;
  writes_at_stall_ = ~std::uint64_t{0};
  current_ = 0;
  thread_count_ = 1;
  location_count_ = 0;
  plain_count_ = 0;
  sc_order_.clear();
  failed_ = false;
  for (virtual_thread& t : threads_) {
    const bool abandoned = t.abandoned;
    t = virtual_thread();
    t.abandoned = abandoned;
    if (choose.from() == choices::source::random) {
      t.priority = static_cast<std::int64_t>(choose.random() >> 40);
    }
  }
  lowest_ = 0;
  choose.rewind();
  heap::clear();
}

/// What is static has its first value again.
void engine::restore() noexcept {
  for (std::size_t i = 0; i != location_count_; ++i) {
    const location& l = locations_[i];
    if (l.created == 0) write_bytes(l.bytes, l.size, l.value_before);
  }
  for (const kept_static& k : statics_) std::memcpy(k.object, k.bytes.data(), k.bytes.size());
}

void engine::keep_static(void* object, std::size_t size) {
  for (const kept_static& k : statics_) {
    if (k.object == object) return;
  }
  const char* const bytes = static_cast<const char*>(object);
  statics_.push_back({object, std::vector<char>(bytes, bytes + size)});
}

void engine::run_once(void (*body)()) {
  reset();
  body_ = body;
  virtual_thread& t = threads_[0];
  t.now = status::ready;
  t.run = [](void* e) { static_cast<engine*>(e)->body_(); };
  t.argument = this;
  t.known.at[0] = 1;
  if (t.abandoned) {
    t.abandoned = false;
    fibers_[0].restart(&engine::enter, nullptr);
  }
  running_ = true;
  active = this;
  explorer_.switch_to(fibers_[0]);
  active = nullptr;
  running_ = false;
  heap::in_use = false;
  restore();
}

verdict engine::explore(void (*body)(), const limits& l, const weakening* weaker,
                        std::uint64_t count, std::uint64_t seed) {
  const signal_guard guard;
  bounds_ = l;
  weaker_ = weaker;
  result_ = verdict();
  tracing_ = choose.from() == choices::source::script;
  const bool at_random = choose.from() == choices::source::random;
  while (result_.executions != count) {
    if (at_random) {
      choose.draw(seed + result_.executions);
      drops_.assign(1 + choose.random() % 4, 0);
      for (std::uint32_t& d : drops_) {
        d = static_cast<std::uint32_t>(choose.random() % (result_.longest + 20));
      }
    }
    run_once(body);
    ++result_.executions;
    result_.longest = std::max(result_.longest, steps_);
    if (failed_) {
      result_.failure = what_;
      result_.script = choose.text();
      break;
    }
    if (tracing_) break;
    if (!at_random && !choose.advance()) {
      result_.complete = true;
      break;
    }
  }
  weaker_ = nullptr;
  return std::move(result_);
}

void on_signal(int number) {
  if (active != nullptr) {
    active->fail(number == SIGABRT ? "abort: an assertion, or an exception without a handler"
                                   : "memory fault",
                 nullptr);
  }
  std::signal(number, SIG_DFL);
  std::raise(number);
}

std::vector<const scenario*>& registered() {
  static std::vector<const scenario*> all;
  return all;
}

verdict with_interleaving(verdict v, void (*body)(), const limits& l, const weakening* weaker) {
  if (!v.failed() || weaker != nullptr) return v;
  v.interleaving = replay(body, l, v.script).interleaving;
  return v;
}

}  // namespace

// --- what atomics and variables call: without an execution there is one thread only --------------

void construct(word w) noexcept {
  if (active != nullptr) active->construct(w);
}

void destroy(word w) noexcept {
  if (active != nullptr) active->destroy(w);
}

std::uint64_t load(word w, std::memory_order order, const place& at) noexcept {
  if (active != nullptr) return active->load(w, order, at);
  return read_bytes(w.bytes, w.size);
}

void store(word w, std::uint64_t value, std::memory_order order, const place& at) noexcept {
  if (active != nullptr) return active->store(w, value, order, at);
  write_bytes(w.bytes, w.size, value);
}

std::uint64_t modify(word w, change how, std::uint64_t operand, std::memory_order order,
                     const place& at) noexcept {
  if (active != nullptr) return active->modify(w, how, operand, order, at);
  const std::uint64_t before = read_bytes(w.bytes, w.size);
  write_bytes(w.bytes, w.size, changed(how, before, operand));
  return before;
}

bool compare_exchange(word w, std::uint64_t& expected, std::uint64_t desired,
                      std::memory_order success, std::memory_order failure, bool weak,
                      const place& at) noexcept {
  if (active != nullptr) {
    return active->swap_if(w, expected, desired, success, failure, weak, at);
  }
  const std::uint64_t before = read_bytes(w.bytes, w.size);
  const bool equal = before == expected;
  if (equal) write_bytes(w.bytes, w.size, desired);
  expected = before;
  return equal;
}

bool wait(word w, std::uint64_t expected, bool limited, const place& at) noexcept {
  return active == nullptr || active->wait(w, expected, limited, at);
}

void wake(const void* bytes, bool all, const place& at) noexcept {
  if (active != nullptr) active->wake(bytes, all, at);
}

void read_plain(tag& known, const void* object, const place& at) noexcept {
  if (active != nullptr) active->read_plain(known, object, at);
}

void write_plain(tag& known, const void* object, const place& at) noexcept {
  if (active != nullptr) active->write_plain(known, object, at);
}

void destroy_plain(tag& known, const void* object) noexcept {
  if (active != nullptr) active->destroy_plain(known, object);
}

// --- what models call ---------------------------------------------------------------------------

scenario::scenario(std::string_view n, void (*b)(), limits l) : name(n), body(b), bounds(l) {
  registered().push_back(this);
}

std::vector<const scenario*> scenarios() {
  std::vector<const scenario*> all = registered();
  std::sort(all.begin(), all.end(),
            [](const scenario* a, const scenario* b) { return a->name < b->name; });
  return all;
}

void thread::start(void (*run)(void*), void* argument) noexcept {
  index_ = the_engine().begin(run, argument);
}

void thread::join() noexcept {
  if (index_ != 0) the_engine().join(std::exchange(index_, 0));
}

void fail(std::string_view what, const place& at) noexcept {
  if (active != nullptr) active->fail(what, &at);
  std::fprintf(stderr, "%.*s\n", static_cast<int>(what.size()), what.data());
  std::abort();
}

void note(std::int64_t outcome) noexcept {
  const heap::outside mine;
  the_engine().note(outcome);
}

void keep_static(void* object, std::size_t size) {
  const heap::outside mine;
  the_engine().keep_static(object, size);
}

// --- what explores ------------------------------------------------------------------------------

std::vector<site> sites() { return the_engine().all_sites().all(); }

std::set<std::uint32_t> sites_of(const scenario& s) {
  site_table& table = the_engine().all_sites();
  table.forget();
  limits few = s.bounds;
  few.executions = 2000;
  search(s.body, few);
  draw(s.body, few, 1, 500);
  std::set<std::uint32_t> met;
  for (std::uint32_t i = 0; i != table.all().size(); ++i) {
    if (table.met(i)) met.insert(i);
  }
  return met;
}

std::string_view name_of(std::memory_order o) noexcept {
  switch (o) {
    case std::memory_order_acquire:
      return "acquire";
    case std::memory_order_release:
      return "release";
    case std::memory_order_acq_rel:
      return "acq_rel";
    case std::memory_order_seq_cst:
      return "seq_cst";
    default:
      return "relaxed";
  }
}

verdict search(void (*body)(), const limits& l, const weakening* weaker) {
  engine& e = the_engine();
  e.choose.search();
  return with_interleaving(e.explore(body, l, weaker, l.executions, 0), body, l, weaker);
}

verdict draw(void (*body)(), const limits& l, std::uint64_t first_seed, std::uint64_t count,
             const weakening* weaker) {
  engine& e = the_engine();
  e.choose.draw(first_seed);
  return with_interleaving(e.explore(body, l, weaker, count, first_seed), body, l, weaker);
}

verdict replay(void (*body)(), const limits& l, std::string_view script, const weakening* weaker) {
  engine& e = the_engine();
  e.choose.follow(script);
  return e.explore(body, l, weaker, 1, 0);
}

}  // namespace troupe::model

namespace troupe::detail {

void cpu_relax() noexcept {
  if (model::active != nullptr) model::active->spin();
}

thread_state& this_thread_state() noexcept {
  static constinit thread_state outside;
  return model::active != nullptr ? model::active->self().state : outside;
}

}  // namespace troupe::detail
