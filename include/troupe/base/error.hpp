// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The errors of the library: one enumeration, one category, one exception.
///
/// Layer: base. Every code says whether the method ran, because that is what the caller must know
/// to retry. Exceptions thrown by users' methods are not wrapped: they reach the caller as they
/// are.

#include <troupe/base/immortal.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/base/worker_id.hpp>
#include <troupe/config.hpp>

// house: allow words: the alias is a layer above, and no model checker cares for these counts
#include <atomic>
#include <cstdint>
#include <string>
#include <system_error>
#include <utility>

namespace troupe {

/// What went wrong with a call. The groups are the answers of `execution_of`.
enum class errc {
  // -- Not executed: the method did not start, calling again is safe.
  mailbox_full = 1,  ///< The worker's mailbox is at its bound, and its policy is to refuse.
  deadlock,          ///< Waiting for this call would close a cycle of waiting callers.
  too_deep,          ///< The chain of callers is longer than its limit.
  refused,           ///< The worker or a guard before it does not accept this call.
  expired,           ///< The call's deadline passed before the method started.
  cancelled,         ///< Cancellation was requested before the method started.
  worker_stopped,    ///< The worker was closed with the call still waiting in its mailbox.
  start_failed,      ///< The worker could not be created.
  broker_gone,       ///< The broker is shutting down or destroyed.
  no_such_method,    ///< The worker has no method of that name and signature.
  no_such_module,    ///< No class or module is known under that name.
  bad_message,       ///< The arguments could not be encoded or decoded.
  too_large,         ///< The message exceeds the size limit of a transport or a mailbox.
  would_block,       ///< The call would have to wait, and the caller asked not to.

  // -- Maybe executed: it started or was handed to somebody who does not answer.
  timed_out,        ///< The call's time limit passed while its outcome was open.
  interrupted,      ///< The method was stopped on its way.
  worker_stalled,   ///< The worker has run one turn for too long and was given up.
  worker_crashed,   ///< The process that runs the worker died.
  connection_lost,  ///< The connection to the worker's process or machine broke.
  network_reset,    ///< The network lost its state, and with it what was under way.

  // -- Executed: only the answer is missing.
  result_lost,  ///< The method ran to its end, but its result could not be delivered.
};

/// How far the method behind a failed call got.
enum class execution { not_executed, maybe_executed, executed };

[[nodiscard]] constexpr execution execution_of(errc code) noexcept;

/// The category of all codes made from `errc`; its name is "troupe".
[[nodiscard]] const std::error_category& error_category() noexcept;

[[nodiscard]] inline std::error_code make_error_code(errc code) noexcept {
  return {static_cast<int>(code), error_category()};
}

/// Whether the method certainly did not run. False for every code of another category: whether a
/// user's own error makes a retry safe only the user can say.
[[nodiscard]] bool is_safe_to_retry(std::error_code code) noexcept;

/// What is thrown at the caller of a call that failed.
///
/// Copying does not throw. `what()` reads `message: detail [worker]`.
class error : public std::system_error {
public:
  explicit error(errc code) : error(code, worker_id{}, std::string()) {}
  error(errc code, worker_id worker) : error(code, std::move(worker), std::string()) {}

  /// `detail` is for people: which limit, which cycle, which name.
  error(errc code, worker_id worker, std::string detail);

  [[nodiscard]] const char* what() const noexcept override { return context_->what.c_str(); }

  /// The worker that was called; an empty id where the error is about none.
  [[nodiscard]] const worker_id& worker() const noexcept { return context_->worker; }

  [[nodiscard]] const std::string& detail() const noexcept { return context_->detail; }

private:
  // Shared by all copies of the exception and never written after construction: a copy that could
  // throw would end the program while it is being thrown. Counted with std::atomic, not with the
  // alias of sync/: no algorithm depends on this count, so a model checker has no use for it.
  struct shared_context {
    shared_context(errc code, worker_id about, std::string explanation);

    friend void add_ref(const shared_context* context) noexcept {
      context->owners.fetch_add(1, std::memory_order_relaxed);
    }
    friend void release(const shared_context* context) noexcept {
      // Pairs with itself: every owner's last look happens before the deletion.
      if (context->owners.fetch_sub(1, std::memory_order_acq_rel) == 1) delete context;
    }

    const worker_id worker;
    const std::string detail;
    const std::string what;
    // house: allow words: see the include
    mutable std::atomic<std::uint32_t> owners{1};
  };

  intrusive_ptr<const shared_context> context_;
};

// -- Bodies --------------------------------------------------------------------------------------

constexpr execution execution_of(errc code) noexcept {
  switch (code) {
    case errc::mailbox_full:
    case errc::deadlock:
    case errc::too_deep:
    case errc::refused:
    case errc::expired:
    case errc::cancelled:
    case errc::worker_stopped:
    case errc::start_failed:
    case errc::broker_gone:
    case errc::no_such_method:
    case errc::no_such_module:
    case errc::bad_message:
    case errc::too_large:
    case errc::would_block:
      return execution::not_executed;
    case errc::timed_out:
    case errc::interrupted:
    case errc::worker_stalled:
    case errc::worker_crashed:
    case errc::connection_lost:
    case errc::network_reset:
      return execution::maybe_executed;
    case errc::result_lost:
      return execution::executed;
  }
  return execution::maybe_executed;  // a number from a newer peer: promise nothing
}

namespace detail {

[[nodiscard]] constexpr const char* message_of(errc code) noexcept {
  switch (code) {
    case errc::mailbox_full:
      return "mailbox full";
    case errc::deadlock:
      return "deadlock";
    case errc::too_deep:
      return "call chain too deep";
    case errc::refused:
      return "refused";
    case errc::expired:
      return "deadline passed before the start";
    case errc::cancelled:
      return "cancelled before the start";
    case errc::worker_stopped:
      return "worker stopped";
    case errc::start_failed:
      return "worker failed to start";
    case errc::broker_gone:
      return "broker gone";
    case errc::no_such_method:
      return "no such method";
    case errc::no_such_module:
      return "no such module";
    case errc::bad_message:
      return "bad message";
    case errc::too_large:
      return "too large";
    case errc::would_block:
      return "would block";
    case errc::timed_out:
      return "timed out";
    case errc::interrupted:
      return "interrupted";
    case errc::worker_stalled:
      return "worker stalled";
    case errc::worker_crashed:
      return "worker crashed";
    case errc::connection_lost:
      return "connection lost";
    case errc::network_reset:
      return "network reset";
    case errc::result_lost:
      return "result lost";
  }
  return "unknown error";
}

class troupe_category final : public std::error_category {
public:
  const char* name() const noexcept override { return "troupe"; }

  std::string message(int value) const override { return message_of(static_cast<errc>(value)); }

  std::error_condition default_error_condition(int value) const noexcept override {
    switch (static_cast<errc>(value)) {
      case errc::cancelled:
      case errc::interrupted:
        return std::errc::operation_canceled;
      case errc::timed_out:
        return std::errc::timed_out;
      default:
        return {value, *this};
    }
  }
};

[[nodiscard]] inline std::string describe(errc code, const worker_id& worker,
                                          const std::string& detail) {
  std::string text = message_of(code);
  if (!detail.empty()) text += ": " + detail;
  if (worker != worker_id{}) text += " [" + to_string(worker) + ']';
  return text;
}

}  // namespace detail

inline const std::error_category& error_category() noexcept {
  static const detail::immortal<detail::troupe_category> instance;
  return instance.get();
}

inline bool is_safe_to_retry(std::error_code code) noexcept {
  if (code.category() != error_category()) return false;
  return execution_of(static_cast<errc>(code.value())) == execution::not_executed;
}

inline error::shared_context::shared_context(errc code, worker_id about, std::string explanation)
    : worker(std::move(about)),
      detail(std::move(explanation)),
      what(troupe::detail::describe(code, worker, detail)) {}

inline error::error(errc code, worker_id worker, std::string detail)
    : std::system_error(make_error_code(code)),
      context_(new shared_context(code, std::move(worker), std::move(detail)), adopt_ref) {}

}  // namespace troupe

template <>
struct std::is_error_code_enum<troupe::errc> : std::true_type {};
