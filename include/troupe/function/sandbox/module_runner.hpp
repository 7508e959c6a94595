// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What runs a module in its own process: one thread that serves the host's queue, what the module
/// has posted, and its timer.
///
/// Layer: function. Linux. The host is trusted here; the module is not, but what it breaks in here
/// is its own.
///
/// The only thread there is: a module cannot start any. Without anything to do it sleeps at
/// `child_file::asleep`; while calls follow each other soon, it spins for up to `spin_time` before.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <exception>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dlfcn.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <troupe/base/hash.hpp>
#include <troupe/codec/encode.hpp>
#include <troupe/config.hpp>
#include <troupe/function/module_abi.hpp>
#include <troupe/function/module_manifest.hpp>
#include <troupe/function/sandbox/arena.hpp>
#include <troupe/function/sandbox/layout.hpp>
#include <troupe/function/sandbox/shared_futex.hpp>

namespace troupe::detail::sandbox {

/// Both files as a child sees them. The memory stays mapped as long as the process lives.
struct child_memory {
  const host_file* host;
  child_file* child;

  const unsigned char* host_arena() const noexcept {
    return reinterpret_cast<const unsigned char*>(host) + arena_offset<host_file>;
  }
  unsigned char* child_arena() const noexcept {
    return reinterpret_cast<unsigned char*>(child) + arena_offset<child_file>;
  }
};

/// Serves one instance of one module. Made once per process.
class module_runner {
public:
  static constexpr std::int64_t spin_time = 50'000;         // nanoseconds
  static constexpr std::int64_t tidy_time = 1'000'000'000;  // of idleness, before memory goes back
  static constexpr std::int64_t retry_time = 1'000'000;     // while a reply waits for room
  static constexpr int most_needed = 64;
  static constexpr std::uint64_t tidy_above = 256u << 10;  // bytes of the arena that are kept

  module_runner(child_memory memory, int event) noexcept : memory_(memory), event_(event) {}
  module_runner(const module_runner&) = delete;
  module_runner& operator=(const module_runner&) = delete;

  /// Maps the library, asks it for its table, and tells the host. False: it is refused, and the
  /// host knows why.
  bool load(const char* path) noexcept;

  /// Makes the instance and serves until it is closed. Where the module throws at it, the process
  /// ends.
  void serve() noexcept;

  /// Tells the host that this child does not start, and why.
  void refuse(std::string_view why);

private:
  struct running_call : troupe_module_call {
    module_runner* runner = nullptr;
    std::uint32_t cell = 0;
    bool open = false;
  };
  struct posted_work {
    void (*work)(void*);
    void* context;
  };
  struct waiting_reply {
    std::uint32_t cell;
    entry_kind kind;
    std::uint32_t outcome;
    std::uint32_t code;
    std::vector<unsigned char> bytes;
  };
  struct open_question {
    troupe_settled settled = nullptr;
    void* context = nullptr;
  };
  struct waiting_question {
    outgoing_head head;
    std::vector<unsigned char> bytes;
    open_question asked_by;
  };
  struct used_block {
    std::uint32_t position;  // of the entry that names it
    std::uint64_t block;
  };

  static module_runner& of(void* self) noexcept { return *static_cast<module_runner*>(self); }
  static std::int64_t now() noexcept {
    timespec t{};
    ::clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<std::int64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
  }

  // What a module asks of its host: module_abi.hpp.
  static void on_post(void* self, void (*work)(void*), void* context) {
    of(self).posted_.push_back({work, context});
  }
  static std::int64_t on_now(void*) { return now(); }
  static std::uint64_t on_random(void* self) { return splitmix64(of(self).random_); }
  static void on_wake_at(void* self, std::int64_t when) {
    module_runner& runner = of(self);
    if (when < runner.wake_at_) runner.wake_at_ = when;
  }
  static void on_call(void* self, troupe_bytes module, troupe_bytes version, troupe_bytes function,
                      std::uint32_t format, troupe_bytes key, troupe_bytes payload,
                      std::int64_t deadline, troupe_settled settled, void* context);
  static void on_settle(troupe_module_call* call, std::uint32_t outcome, std::uint32_t code,
                        troupe_bytes reply);

  bool take_table(const troupe_module_table* table);
  std::string fault_of(const troupe_module_table* table) const;
  void tell_manifest(const troupe_module_table& table);

  void note_arrival() noexcept;
  bool serve_queue();
  void begin_call(std::uint32_t cell);
  void stop_call(std::uint32_t cell);
  void take_answer(std::uint32_t cell);
  bool serve_posted();
  bool serve_timer();
  void sleep();
  bool host_has_more() const noexcept {
    return memory_.host->queue.tail.load(order::seq_cst) != taken_;
  }

  void reply(std::uint32_t cell, entry_kind kind, std::uint32_t outcome, std::uint32_t code,
             troupe_bytes bytes);
  bool try_reply(std::uint32_t cell, entry_kind kind, std::uint32_t outcome, std::uint32_t code,
                 const unsigned char* data, std::uint64_t size) noexcept;
  bool try_ask(const waiting_question& question) noexcept;
  std::optional<std::uint64_t> put(const unsigned char* data, std::uint64_t size,
                                   unsigned char* cell_room, std::size_t room) noexcept;
  bool send_waiting() noexcept;
  void free_blocks() noexcept;
  void publish(entry_kind kind, std::uint32_t cell, std::uint64_t block) noexcept;

  const child_memory memory_;
  const int event_;
  troupe_module_host host_{};
  const troupe_module_table* table_ = nullptr;
  void* instance_ = nullptr;
  bool ended_ = false;

  std::uint32_t taken_ = 0;  // entries of the host's queue
  std::uint32_t put_ = 0;    // entries of our queue
  std::uint64_t random_ = 0;
  std::int64_t wake_at_ = INT64_MAX;
  std::int64_t last_busy_ = 0;
  // Whether it spins: while calls come so soon after each other that it meets them. If not, the
  // core is better left to the host, who may be waiting for this very one: a spin that was in vain
  // is followed by `penalty_` calls without.
  bool spins_ = false;
  int soon_needed_ = 0;  // calls that have to come soon before it spins
  int penalty_ = 1;
  std::int64_t tidy_at_ = 0;  // when unused pages of the arena may go back
  std::vector<posted_work> posted_;
  std::vector<posted_work> running_;

  std::vector<running_call> calls_;
  std::vector<open_question> questions_;  // by cell; `settled` is null where nothing is asked
  std::vector<std::uint32_t> free_questions_;
  std::deque<waiting_reply> waiting_replies_;
  std::deque<waiting_question> waiting_questions_;

  arena arena_{arena_size, cell_count + outgoing_count + 1};
  std::deque<used_block> used_;  // in the order of their entries
};

// -- Starting ------------------------------------------------------------------------------------

inline void module_runner::refuse(std::string_view why) {
  why = why.substr(0, largest_names);
  const troupe_bytes text{reinterpret_cast<const unsigned char*>(why.data()), why.size()};
  reply(start_cell, entry_kind::refused, troupe_outcome_error, 0, text);
}

inline bool module_runner::load(const char* path) noexcept {
  void* const library = ::dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const why = ::dlerror();
    refuse(std::string("the library cannot be loaded: ") + (why != nullptr ? why : "unknown"));
    return false;
  }
  void* const entry = ::dlsym(library, module_entry_symbol);
  if (entry == nullptr) {
    refuse(std::string("it is no module: it has no symbol ") + module_entry_symbol);
    return false;
  }
  troupe_module_entry_function give_table = nullptr;
  static_assert(sizeof give_table == sizeof entry);
  std::memcpy(&give_table, &entry, sizeof give_table);
  return take_table(give_table());
}

inline std::string module_runner::fault_of(const troupe_module_table* table) const {
  if (table == nullptr) return "the module gives no table";
  if (table->magic != troupe_module_magic) return "its table does not begin as one of a module";
  if (table->abi != troupe_module_abi) {
    return "it is built for version " + std::to_string(table->abi) + " of the interface, not " +
           std::to_string(troupe_module_abi);
  }
  if (table->size < sizeof(troupe_module_table)) return "its table is too short";
  return {};
}

inline bool module_runner::take_table(const troupe_module_table* table) {
  const std::string fault = fault_of(table);
  if (!fault.empty()) {
    refuse(fault);
    return false;
  }
  table_ = table;
  return true;
}

inline void module_runner::tell_manifest(const troupe_module_table& table) {
  const auto text = [](const char* s) { return std::string(s != nullptr ? s : ""); };
  module_manifest manifest{
      text(table.name), text(table.version), text(table.build), table.formats, {}};
  for (std::uint32_t i = 0; i != table.function_count; ++i) {
    const troupe_module_function& f = table.functions[i];
    manifest.functions.push_back({text(f.name), text(f.signature), f.parameters, f.result});
  }
  const std::vector<std::byte> bytes = encode(manifest);
  const troupe_bytes all{reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()};
  reply(start_cell, entry_kind::started, troupe_outcome_value, 0, all);
}

// -- The loop ------------------------------------------------------------------------------------

inline void module_runner::serve() noexcept {
  if (::getrandom(&random_, sizeof random_, 0) < 0) random_ = static_cast<std::uint64_t>(now());
  calls_.resize(cell_count);
  questions_.resize(outgoing_count);
  for (std::uint32_t i = outgoing_count; i-- != 0;) free_questions_.push_back(i);
  host_ = {sizeof host_,
           troupe_module_abi,
           this,
           &module_runner::on_post,
           &module_runner::on_now,
           &module_runner::on_random,
           &module_runner::on_wake_at,
           &module_runner::on_call};

  std::string why = "the module does not say why";
  const auto on_failure = [](void* context, const char* text) {
    if (text != nullptr) *static_cast<std::string*>(context) = text;
  };
  instance_ = table_->create(&host_, on_failure, &why);
  if (instance_ == nullptr) return refuse("its instance cannot be made: " + why);
  tell_manifest(*table_);

  last_busy_ = now();
  while (!ended_) {
    if (host_has_more()) note_arrival();
    bool busy = serve_queue();
    busy = serve_posted() || busy;
    busy = serve_timer() || busy;
    free_blocks();
    busy = send_waiting() || busy;
    if (busy) {
      last_busy_ = now();
    } else if (spins_ && now() - last_busy_ < spin_time) {
      for (int i = 0; i != 64 && !host_has_more(); ++i) cpu_relax();
    } else {
      if (spins_) penalty_ = soon_needed_ = (std::min)(2 * penalty_, most_needed);
      spins_ = false;
      sleep();
    }
  }
  table_->destroy(instance_);
}

inline void module_runner::note_arrival() noexcept {
  const bool soon = now() - last_busy_ < spin_time;
  if (spins_ && soon) penalty_ = 1;
  if (!soon) {
    spins_ = false;
  } else if (soon_needed_ > 0) {
    --soon_needed_;
  } else {
    spins_ = true;
  }
}

inline bool module_runner::serve_queue() {
  // Pairs with the host's store behind its entry and cell.
  const std::uint32_t tail = memory_.host->queue.tail.load(order::acquire);
  if (tail == taken_) return false;
  while (taken_ != tail && !ended_) {
    const std::uint32_t entry =
        memory_.host->queue.entries[taken_ % queue_length].load(order::relaxed);
    ++taken_;
    const auto kind = static_cast<entry_kind>(kind_of(entry));
    // Before a call begins, so that whoever finds this process dead knows that it may have.
    if (kind == entry_kind::call) memory_.child->taken.store(taken_, order::release);
    switch (kind) {
      case entry_kind::call:
        begin_call(cell_of(entry));
        break;
      case entry_kind::stop:
        stop_call(cell_of(entry));
        break;
      case entry_kind::answer:
        take_answer(cell_of(entry));
        break;
      case entry_kind::close:
        table_->close(instance_, [](void* self) { of(self).ended_ = true; }, this);
        break;
      default:
        break;
    }
    memory_.child->taken.store(taken_, order::release);
  }
  return true;
}

inline void module_runner::begin_call(std::uint32_t cell) {
  std::uint32_t claim = claim_open;
  if (!memory_.child->claims[cell].compare_exchange_strong(claim, claim_begun, order::acq_rel,
                                                           order::relaxed)) {
    return publish(entry_kind::passed, cell, in_cell);  // taken back
  }
  // The host leaves the cell and its block alone until the reply.
  const plain_cell<request_head>& request = memory_.host->requests[cell];
  const request_head& head = request.head;
  const unsigned char* const bytes =
      head.block == in_cell ? request.bytes : memory_.host_arena() + head.block;
  running_call& call = calls_[cell];
  call.size = sizeof(troupe_module_call);
  call.function = head.function;
  call.format = head.format;
  call.id = head.id;
  call.deadline = head.deadline;
  call.key = {bytes, head.key_size};
  call.caller = {bytes + head.key_size, head.caller_size};
  call.payload = {bytes + head.key_size + head.caller_size, head.payload_size};
  call.settle = &module_runner::on_settle;
  call.runner = this;
  call.cell = cell;
  call.open = true;
  table_->call(instance_, &call);
}

/// A call that has ended in the meantime is not there any more; its cell may be in use again only
/// after this entry.
inline void module_runner::stop_call(std::uint32_t cell) {
  if (calls_[cell].open) table_->stop(instance_, calls_[cell].id);
}

inline void module_runner::on_settle(troupe_module_call* self, std::uint32_t outcome,
                                     std::uint32_t code, troupe_bytes bytes) {
  auto& call = static_cast<running_call&>(*self);
  call.open = false;
  call.runner->reply(call.cell, entry_kind::reply, outcome, code, bytes);
}

inline bool module_runner::serve_posted() {
  if (posted_.empty()) return false;
  running_.swap(posted_);
  for (const posted_work& one : running_) one.work(one.context);
  running_.clear();
  return true;
}

inline bool module_runner::serve_timer() {
  if (wake_at_ == INT64_MAX || now() < wake_at_) return false;
  wake_at_ = INT64_MAX;
  table_->wake(instance_);
  return true;
}

inline void module_runner::sleep() {
  std::int64_t until = wake_at_;
  const bool untidy = arena_.highest() > tidy_above;
  if (!waiting_replies_.empty()) until = (std::min)(until, now() + retry_time);
  if (untidy) {
    tidy_at_ = (std::max)(tidy_at_, last_busy_ + tidy_time);
    until = (std::min)(until, tidy_at_);
  }
  memory_.child->asleep.store(1, order::seq_cst);  // before the last look: see child_file::asleep
  if (!host_has_more()) shared_wait(memory_.child->asleep, 1, until);
  memory_.child->asleep.store(0, order::relaxed);

  if (!untidy || now() < tidy_at_) return;
  tidy_at_ = now() + tidy_time;
  free_blocks();
  if (!arena_.empty()) return;
  static_cast<void>(::madvise(memory_.child_arena(), arena_.highest(), MADV_REMOVE));
  arena_.forget_highest();
}

// -- To the host ---------------------------------------------------------------------------------

/// Puts bytes into the cell or the arena; nothing: there is no room now.
inline std::optional<std::uint64_t> module_runner::put(const unsigned char* data,
                                                       std::uint64_t size, unsigned char* cell_room,
                                                       std::size_t room) noexcept {
  if (size <= room) {
    if (size != 0) std::memcpy(cell_room, data, size);
    return in_cell;
  }
  const std::optional<std::uint64_t> block = arena_.take(size);
  if (block) std::memcpy(memory_.child_arena() + *block, data, size);
  return block;
}

inline void module_runner::publish(entry_kind kind, std::uint32_t cell,
                                   std::uint64_t block) noexcept {
  child_file& file = *memory_.child;
  if (block != in_cell) used_.push_back({put_, block});
  file.queue.entries[put_ % queue_length].store(to_entry(kind, cell), order::relaxed);
  ++put_;
  file.queue.tail.store(put_, order::seq_cst);  // before the look: see host_file::looking
  const std::uint32_t how = memory_.host->looking.load(order::seq_cst);
  if (how == by_sleeping) shared_wake(file.queue.tail);
  if (how != by_event) return;
  const std::uint64_t one = 1;
  // An event that is full is one that nobody has to be told of again.
  if (::write(event_, &one, sizeof one) < 0) return;
}

inline void module_runner::free_blocks() noexcept {
  if (used_.empty()) return;
  const std::uint32_t done = memory_.host->taken.load(order::acquire);  // pairs with the host's
  while (!used_.empty() && static_cast<std::int32_t>(done - used_.front().position) > 0) {
    arena_.give(used_.front().block);
    used_.pop_front();
  }
}

inline bool module_runner::try_reply(std::uint32_t cell, entry_kind kind, std::uint32_t outcome,
                                     std::uint32_t code, const unsigned char* data,
                                     std::uint64_t size) noexcept {
  plain_cell<reply_head> out;
  const auto block = put(data, size, out.bytes, sizeof out.bytes);
  if (!block) return false;
  out.head = {outcome, code, size, *block};
  const std::size_t in_use = *block == in_cell ? static_cast<std::size_t>(size) : 0;
  memory_.child->replies[cell].copy_from(&out, sizeof out.head + in_use);
  publish(kind, cell, *block);
  return true;
}

inline void module_runner::reply(std::uint32_t cell, entry_kind kind, std::uint32_t outcome,
                                 std::uint32_t code, troupe_bytes bytes) {
  if (bytes.size > largest_message) {
    static constexpr std::string_view why = "the reply is longer than a message may be";
    outcome = troupe_outcome_error;
    code = static_cast<std::uint32_t>(errc::too_large);
    bytes = {reinterpret_cast<const unsigned char*>(why.data()), why.size()};
  }
  free_blocks();
  if (waiting_replies_.empty() && try_reply(cell, kind, outcome, code, bytes.data, bytes.size)) {
    return;
  }
  waiting_replies_.push_back({cell, kind, outcome, code, {}});
  waiting_replies_.back().bytes.assign(bytes.data, bytes.data + bytes.size);
}

/// What had no room before: replies first, in their order.
inline bool module_runner::send_waiting() noexcept {
  bool sent = false;
  while (!waiting_replies_.empty()) {
    const waiting_reply& next = waiting_replies_.front();
    if (!try_reply(next.cell, next.kind, next.outcome, next.code, next.bytes.data(),
                   next.bytes.size())) {
      return sent;
    }
    waiting_replies_.pop_front();
    sent = true;
  }
  while (!waiting_questions_.empty() && try_ask(waiting_questions_.front())) {
    waiting_questions_.pop_front();
    sent = true;
  }
  return sent;
}

// -- Calls of the module -------------------------------------------------------------------------

inline void module_runner::on_call(void* self, troupe_bytes module, troupe_bytes version,
                                   troupe_bytes function, std::uint32_t format, troupe_bytes key,
                                   troupe_bytes payload, std::int64_t deadline,
                                   troupe_settled settled, void* context) {
  module_runner& runner = of(self);
  waiting_question question{};
  question.head = {deadline,
                   format,
                   static_cast<std::uint32_t>(module.size),
                   static_cast<std::uint32_t>(version.size),
                   static_cast<std::uint32_t>(function.size),
                   static_cast<std::uint32_t>(key.size),
                   0,
                   payload.size,
                   in_cell};
  question.asked_by = {settled, context};
  const std::uint64_t total = module.size + version.size + function.size + key.size + payload.size;
  const std::uint64_t names = total - payload.size;
  if (total > largest_message || names > largest_names) {  // told later: never inside this function
    question.head.reserved = static_cast<std::uint32_t>(errc::too_large);
  } else {
    question.bytes.reserve(total);
    for (const troupe_bytes& part : {module, version, function, key, payload}) {
      question.bytes.insert(question.bytes.end(), part.data, part.data + part.size);
    }
  }
  runner.waiting_questions_.push_back(std::move(question));
}

inline bool module_runner::try_ask(const waiting_question& question) noexcept {
  const open_question& by = question.asked_by;
  if (question.head.reserved != 0) {
    by.settled(by.context, troupe_outcome_error, question.head.reserved, {nullptr, 0});
    return true;
  }
  if (free_questions_.empty()) return false;
  plain_cell<outgoing_head> out;
  const auto block = put(question.bytes.data(), question.bytes.size(), out.bytes, sizeof out.bytes);
  if (!block) return false;
  out.head = question.head;
  out.head.block = *block;
  const std::uint32_t cell = free_questions_.back();
  free_questions_.pop_back();
  questions_[cell] = by;
  const std::size_t in_use = *block == in_cell ? question.bytes.size() : 0;
  memory_.child->outgoing[cell].copy_from(&out, sizeof out.head + in_use);
  publish(entry_kind::outgoing, cell, *block);
  return true;
}

inline void module_runner::take_answer(std::uint32_t cell) {
  const plain_cell<reply_head>& answer = memory_.host->answers[cell];
  const reply_head& head = answer.head;
  const unsigned char* const bytes =
      head.block == in_cell ? answer.bytes : memory_.host_arena() + head.block;
  const open_question by = std::exchange(questions_[cell], open_question{});
  by.settled(by.context, head.outcome, head.code, {bytes, head.size});
  // Only now: the bytes above are in it.
  free_questions_.push_back(cell);
}

}  // namespace troupe::detail::sandbox
