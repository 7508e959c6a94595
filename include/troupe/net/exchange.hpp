// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `exchange`: requests with answers, and words without, over a network.
///
/// Layer: net.

#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include <troupe/base/error.hpp>
#include <troupe/base/result.hpp>
#include <troupe/base/scope_exit.hpp>
#include <troupe/base/shared_bytes.hpp>
#include <troupe/codec/decode.hpp>
#include <troupe/codec/encode.hpp>
#include <troupe/codec/limits.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/async_semaphore.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/task_scope.hpp>
#include <troupe/coro/within.hpp>
#include <troupe/net/network.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/spin_lock.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// What travels: the words of both sides, and what an answer that failed says.
struct exchange_envelope {
  enum kind_of : std::uint8_t { word, question, answer, failure };

  std::uint8_t kind = word;
  std::uint64_t number = 0;  // of the question, by who has asked
  shared_bytes body;
};
struct exchange_failure {
  std::int32_t code = 0;  // an `errc`; 0: an exception of another kind
  std::string text;
};

/// Both sides of requests at one address.
///
/// A question is asked once and never again: who must know whether it was heard asks again himself.
///
/// Thread safety: all members but the destructor from any thread.
class exchange {
public:
  /// How much a question, an answer or a word may hold, in bytes.
  static constexpr std::size_t max_size = decode_limits().size - 1024;

  /// What is said to this address. Words come in the order in which they arrived, questions each by
  /// itself.
  class listener {
  public:
    /// Must not throw, nor wait.
    virtual void hear(const std::string& from, const shared_bytes& said) noexcept = 0;
    virtual task<shared_bytes> answer(std::string from, shared_bytes asked) = 0;

  protected:
    listener() = default;
    listener(const listener&) = default;
    listener& operator=(const listener&) = default;
    ~listener() = default;
  };

  /// Throws `errc::refused` where the address is taken.
  exchange(network& over, std::string address) : end_(over.open(std::move(address))) {}
  exchange(const exchange&) = delete;
  exchange& operator=(const exchange&) = delete;
  ~exchange() = default;

  const std::string& address() const noexcept { return end_->address(); }

  /// Listens until it is closed or stopped; then stops what is being answered, waits for it, and
  /// fails whoever still waits for an answer.
  task<> run(listener& to);

  /// The other side's answer, or its failure: an `error` as it was, and any other exception as a
  /// `std::runtime_error` with its text. Throws `errc::timed_out` after `limit`, and
  /// `errc::connection_lost` where this side has ended or the other one is lost, and
  /// `errc::too_large`.
  task<shared_bytes> ask(std::string to, shared_bytes asked, duration limit);

  /// At most once, in order. Throws `errc::too_large`.
  void tell(std::string_view to, shared_bytes said) {
    send(to, exchange_envelope::word, 0, std::move(said));
  }

  void close() noexcept { end_->close(); }

  /// Nobody answers any more at the addresses that `is_lost` names: fails those who wait for that.
  template <class IsLost>
  void lose(IsLost is_lost) noexcept;

private:
  struct question {
    explicit question(std::string to) : address(std::move(to)) {}

    const std::string address;
    async_semaphore over{0};
    exchange_envelope came;  // written before `over` is released
  };
  using questions = std::map<std::uint64_t, std::shared_ptr<question>>;

  void send(std::string_view to, std::uint8_t kind, std::uint64_t number, shared_bytes body) {
    if (body.size() > max_size) throw error(errc::too_large, {}, "it is more than a message holds");
    const exchange_envelope sent{kind, number, std::move(body)};
    end_->send(to, shared_bytes(encode(sent)));
  }

  void take(listener& to, network_message m, task_scope& answers) noexcept;
  void refuse(std::string_view to, std::uint64_t number, const error& why) noexcept;
  bool has_ended() const noexcept {
    const spin_guard guard(lock_);
    return ended_;
  }
  task<> answer_to(listener& to, std::string from, std::uint64_t number, shared_bytes asked);
  std::shared_ptr<question> open_question(std::uint64_t number, std::string to);
  void end_question(std::uint64_t number) noexcept;
  void settle(const std::string& from, exchange_envelope came) noexcept;
  void fail_all() noexcept;
  static shared_bytes text_of(const std::exception_ptr& failure);
  [[noreturn]] static void throw_failure(const shared_bytes& body);

  const std::unique_ptr<network_endpoint> end_;
  atomic<std::uint64_t> numbers_{0};
  mutable spin_lock lock_;  // guards all below
  questions open_;
  bool ended_ = false;
};

inline task<> exchange::run(listener& to) {
  task_scope answers;
  task<> joining = answers.join();  // made while there is memory
  for (;;) {
    auto next = as_result(end_->receive());
    result<std::optional<network_message>> m = co_await std::move(next);
    if (!m.has_value() || !m.value()) break;
    take(to, std::move(*m.value()), answers);
  }
  close();
  fail_all();
  answers.request_stop();
  co_await std::move(joining);
}

/// What is no envelope is nobody's; what there is no memory for is lost, as on any network.
inline void exchange::take(listener& to, network_message m, task_scope& answers) noexcept try {
  result<exchange_envelope> read = decode<exchange_envelope>(m.body);
  if (!read.has_value()) return;
  exchange_envelope& came = read.value();
  switch (came.kind) {
    case exchange_envelope::word:
      to.hear(m.from, came.body);
      break;
    case exchange_envelope::question:
      answers.spawn(answer_to(to, std::move(m.from), came.number, std::move(came.body)));
      break;
    case exchange_envelope::answer:
    case exchange_envelope::failure:
      settle(m.from, std::move(came));
      break;
    default:
      break;
  }
} catch (...) {
  // As said.
}

/// Does not throw: who has asked hears of it, or has a time limit. Nothing is said by an end that
/// is closed, whose answers have been stopped.
inline task<> exchange::answer_to(listener& to, std::string from, std::uint64_t number,
                                  shared_bytes asked) {
  shared_bytes said;
  std::exception_ptr failed;
  try {
    said = co_await to.answer(from, std::move(asked));
  } catch (...) {
    failed = std::current_exception();
  }
  if (has_ended()) co_return;
  try {
    if (!failed) {
      send(from, exchange_envelope::answer, number, std::move(said));
    } else {
      send(from, exchange_envelope::failure, number, text_of(failed));
    }
  } catch (const error& e) {
    refuse(from, number, e);
  } catch (...) {
    // For want of memory.
  }
}

/// What was to be said is too large.
inline void exchange::refuse(std::string_view to, std::uint64_t number, const error& why) noexcept {
  try {
    send(to, exchange_envelope::failure, number, text_of(std::make_exception_ptr(why)));
  } catch (...) {
    // For want of memory.
  }
}

inline task<shared_bytes> exchange::ask(std::string to, shared_bytes asked, duration limit) {
  const std::uint64_t number = numbers_.fetch_add(1, order::relaxed) + 1;
  const std::shared_ptr<question> q = open_question(number, std::move(to));
  const scope_exit forget([&]() noexcept { end_question(number); });
  send(q->address, exchange_envelope::question, number, std::move(asked));
  auto answered = within(q->over.acquire(), limit);
  co_await std::move(answered);
  if (q->came.kind == exchange_envelope::failure) throw_failure(q->came.body);
  if (q->came.kind != exchange_envelope::answer) {
    throw error(errc::connection_lost, {}, "nobody answers any more");
  }
  co_return q->came.body;
}

inline std::shared_ptr<exchange::question> exchange::open_question(std::uint64_t number,
                                                                   std::string to) {
  const auto q = std::make_shared<question>(std::move(to));
  questions fresh;
  fresh.emplace(number, q);
  auto node = fresh.extract(fresh.begin());
  bool ended = false;
  {
    const spin_guard guard(lock_);
    ended = ended_;
    if (!ended) open_.insert(std::move(node));
  }
  if (ended) q->over.release();
  return q;
}

inline void exchange::end_question(std::uint64_t number) noexcept {
  questions::node_type freed;
  const spin_guard guard(lock_);
  freed = open_.extract(number);
}

/// The first answer of who was asked counts, and none that comes too late.
inline void exchange::settle(const std::string& from, exchange_envelope came) noexcept {
  std::shared_ptr<question> q;
  questions::node_type freed;
  {
    const spin_guard guard(lock_);
    const auto at = open_.find(came.number);
    if (at == open_.end() || at->second->address != from) return;
    q = at->second;
    freed = open_.extract(at);
  }
  q->came = std::move(came);
  q->over.release();
}

inline void exchange::fail_all() noexcept {
  questions waiting;
  {
    const spin_guard guard(lock_);
    ended_ = true;
    waiting.swap(open_);
  }
  for (const auto& [number, q] : waiting) q->over.release();
}

template <class IsLost>
void exchange::lose(IsLost is_lost) noexcept {
  questions unanswered;
  {
    const spin_guard guard(lock_);
    for (auto at = open_.begin(); at != open_.end();) {
      const auto it = at++;
      if (is_lost(it->second->address)) unanswered.insert(open_.extract(it));
    }
  }
  for (const auto& [number, q] : unanswered) q->over.release();
}

inline shared_bytes exchange::text_of(const std::exception_ptr& failure) {
  exchange_failure said;
  try {
    std::rethrow_exception(failure);
  } catch (const error& e) {
    said.code = e.code().value();
    said.text = e.detail();
  } catch (const std::exception& e) {
    said.text = e.what();
  } catch (...) {
    said.text = "an exception of no known type";
  }
  return shared_bytes(encode(said));
}

inline void exchange::throw_failure(const shared_bytes& body) {
  const result<exchange_failure> said = decode<exchange_failure>(body);
  if (!said.has_value()) {
    throw error(errc::bad_message, {}, "the failure of the other side cannot be read");
  }
  const exchange_failure& failure = said.value();
  if (failure.code == 0) throw std::runtime_error(failure.text);
  throw error(static_cast<errc>(failure.code), {}, failure.text);
}

}  // namespace troupe::detail
