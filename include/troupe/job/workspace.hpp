// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `workspace`: the scripts that a program has.
///
/// Layer: job.

#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <troupe/base/result.hpp>
#include <troupe/base/shared_bytes.hpp>
#include <troupe/codec/decode.hpp>
#include <troupe/codec/encode.hpp>
#include <troupe/coro/offload.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/job/job_context.hpp>
#include <troupe/job/job_failure.hpp>
#include <troupe/job/script.hpp>
#include <troupe/net/job_store.hpp>

namespace troupe {
namespace detail {

/// How a script is run: a function, and what it knows. Runs nothing where it is empty.
class script_runner {
public:
  using function = task<shared_bytes> (*)(const void* known, const shared_bytes& params,
                                          job_context& ctx);

  script_runner() noexcept = default;
  explicit script_runner(function run, std::shared_ptr<const void> known = nullptr) noexcept
      : run_(run), known_(std::move(known)) {}

  explicit operator bool() const noexcept { return run_ != nullptr; }

  /// What it borrows, and this, outlive the task.
  task<shared_bytes> operator()(const shared_bytes& params, job_context& ctx) const {
    return run_(known_.get(), params, ctx);
  }

  friend bool operator==(const script_runner& a, const script_runner& b) noexcept {
    return a.run_ == b.run_ && a.known_ == b.known_;
  }

private:
  function run_ = nullptr;
  std::shared_ptr<const void> known_;
};

template <class S>
decltype(auto) call_script(S& s, typename S::params&& params, job_context& ctx) {
  if constexpr (std::is_invocable_v<S&, typename S::params, job_context&>) {
    return s(std::move(params), ctx);
  } else {
    return s(std::move(params));
  }
}

/// One attempt of an `S`. What it borrows outlives it.
template <class S>
task<shared_bytes> run_script(const void*, const shared_bytes& params, job_context& ctx) {
  using params_type = typename S::params;
  using result_type = typename S::result;
  using given = decltype(call_script<S>(std::declval<S&>(), std::declval<params_type>(), ctx));
  troupe::result<params_type> read = decode<params_type>(params);
  if (!read.has_value()) throw unreadable_params(describe_job_failure(read.error()).text);
  S s;
  if constexpr (script_blocks<S>()) {
    static_assert(!is_task<given>, "troupe: a script that blocks is no coroutine");
    auto work = [&]() -> given { return call_script<S>(s, std::move(read.value()), ctx); };
    auto blocking = offload(work);
    if constexpr (std::is_void_v<result_type>) {
      co_await std::move(blocking);
      co_return shared_bytes();
    } else {
      const result_type value = co_await std::move(blocking);
      co_return shared_bytes(encode(value));
    }
  } else if constexpr (is_task<given>) {
    if constexpr (std::is_void_v<result_type>) {
      co_await call_script<S>(s, std::move(read.value()), ctx);
      co_return shared_bytes();
    } else {
      const result_type value = co_await call_script<S>(s, std::move(read.value()), ctx);
      co_return shared_bytes(encode(value));
    }
  } else if constexpr (std::is_void_v<result_type>) {
    call_script<S>(s, std::move(read.value()), ctx);
    co_return shared_bytes();
  } else {
    const result_type value = call_script<S>(s, std::move(read.value()), ctx);
    co_return shared_bytes(encode(value));
  }
}

}  // namespace detail

/// The scripts that instruments run and clients ask for. Both copy what it has when they are made.
///
///     struct add {
///       struct params { int a = 0, b = 0; };
///       using result = int;
///       int operator()(params p) { return p.a + p.b; }
///     };
///     troupe::workspace scripts;
///     scripts.add<add>();
///
/// A script may have `static constexpr std::string_view name`, `static constexpr std::uint32_t
/// version`, `static constexpr bool blocking = true`, which runs it where it may block, and types
/// `progress` (else `double`) and `output` (else `std::string`) of what it tells.
///
/// Thread safety: as a container.
class workspace {
public:
  /// Throws `std::invalid_argument` where another one has its name and version.
  template <script S>
  workspace& add() {
    put({std::string(script_name<S>()), script_version<S>()},
        detail::script_runner(&detail::run_script<S>));
    return *this;
  }

  /// A script that clients may ask for, and others run: of `S` its `params`, `result`, name and
  /// version count.
  template <script_form S>
  workspace& declare() {
    scripts_.try_emplace({std::string(script_name<S>()), script_version<S>()});
    return *this;
  }

  /// It was added or declared.
  template <script_form S>
  [[nodiscard]] bool has() const noexcept {
    return scripts_.find(std::pair(script_name<S>(), script_version<S>())) != scripts_.end();
  }

  /// For the library: a script that is run in some other way. Throws as `add`.
  void put(job_script s, detail::script_runner run) {
    const auto at = scripts_.try_emplace({std::move(s.name), s.version}).first;
    if (at->second && !(at->second == run)) {
      throw std::invalid_argument("two scripts are called " + at->first.first);
    }
    at->second = std::move(run);
  }

  /// How to run it; empty: it is not known here.
  [[nodiscard]] detail::script_runner find(std::string_view name,
                                           std::uint32_t version) const noexcept {
    const auto at = scripts_.find(std::pair(name, version));
    return at == scripts_.end() ? detail::script_runner() : at->second;
  }

  /// All that can be run here, in the order of their names.
  [[nodiscard]] std::vector<job_script> list() const {
    std::vector<job_script> all;
    for (const auto& [key, run] : scripts_) {
      if (run) all.push_back({key.first, key.second});
    }
    return all;
  }

private:
  struct less {
    using is_transparent = void;
    template <class A, class B>
    bool operator()(const A& a, const B& b) const noexcept {
      const int names = std::string_view(a.first).compare(b.first);
      return names != 0 ? names < 0 : a.second < b.second;
    }
  };
  std::map<std::pair<std::string, std::uint32_t>, detail::script_runner, less> scripts_;
};

}  // namespace troupe
