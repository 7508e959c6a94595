// SPDX-License-Identifier: MIT
#pragma once

// The module `subject` in a process, for the tests of the sandbox: started, called and watched from
// a thread that may block.

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <dirent.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <troupe/coro/sync_wait.hpp>
#include <troupe/exec/thread_pool.hpp>
#include <troupe/function/process_launcher.hpp>
#include <troupe/sync/atomic.hpp>
#include <troupe/sync/futex.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace subject {

using namespace std::chrono_literals;

/// Longer than anything takes here, with a sanitizer and on busy cores.
inline constexpr auto patience = 60s;

inline std::string module_path(const char* name) {
  const char* const folder = std::getenv("TROUPE_TEST_MODULES");
#if defined(TROUPE_TEST_MODULES)
  if (folder == nullptr) return std::string(TROUPE_TEST_MODULES "/") + name + ".so";
#endif
  return std::string(folder != nullptr ? folder : ".") + "/" + name + ".so";
}

inline troupe::sandbox_options options() {
  troupe::sandbox_options made;
  const char* const helper = std::getenv("TROUPE_TEST_HELPER");
  if (helper != nullptr) made.helper = helper;
#if defined(TROUPE_TEST_HELPER)
  if (helper == nullptr) made.helper = TROUPE_TEST_HELPER;
#endif
  return made;
}

inline const troupe::module_image& image(const char* name = "subject") {
  static std::vector<std::pair<std::string, troupe::module_image>> all;
  for (auto& [known, one] : all) {
    if (known == name) return one;
  }
  all.reserve(16);
  all.emplace_back(name, troupe::module_image::from_file(module_path(name)));
  return all.back().second;
}

/// A word that one thread waits at.
class flag {
public:
  void raise() noexcept {
    word_.store(1, troupe::detail::order::release);
    troupe::futex_wake_all(&word_);
  }
  bool raised() const noexcept { return word_.load(troupe::detail::order::acquire) == 1; }
  bool wait() const noexcept {
    const auto until = troupe::steady_now() + patience;
    while (!raised()) {
      if (!troupe::futex_wait_until(word_, 0, until)) return raised();
    }
    return true;
  }

private:
  troupe::detail::atomic<std::uint32_t> word_{0};
};

/// A call and what became of it. Outlives its end.
class call final : public troupe::detail::module_call {
public:
  explicit call(std::string payload_text = {}, std::string caller_text = {},
                std::string key_text = {})
      : payload_(std::move(payload_text)),
        caller_(std::move(caller_text)),
        key_(std::move(key_text)) {
    static troupe::detail::atomic<std::uint64_t> last_id{0};
    id = 1 + last_id.fetch_add(1, troupe::detail::order::relaxed);
    deadline = INT64_MAX;
    payload = bytes(payload_);
    caller = bytes(caller_);
    key = bytes(key_);
    settle = &call::on_settle;
  }
  void give_back() noexcept override {
    given_back = true;
    ++ends;
    ended.raise();
  }

  /// "value: ...", "exception: ...", "<errc>: ...", "given back" or "nothing".
  std::string outcome() const {
    if (!ended.raised()) return "nothing";
    if (given_back) return "given back";
    if (how == troupe_outcome_value) return "value: " + reply;
    if (how == troupe_outcome_exception) return "exception: " + reply;
    return troupe::detail::message_of(static_cast<troupe::errc>(code)) + std::string(": ") + reply;
  }

  std::uint32_t how = 99;
  std::uint32_t code = 0;
  std::string reply;
  bool given_back = false;
  int ends = 0;
  flag ended;

private:
  static troupe_bytes bytes(const std::string& text) {
    return {reinterpret_cast<const unsigned char*>(text.data()), text.size()};
  }
  static void on_settle(troupe_module_call* self, std::uint32_t outcome, std::uint32_t code,
                        troupe_bytes reply) {
    auto& c = static_cast<call&>(*self);
    c.how = outcome;
    c.code = code;
    c.reply.assign(reinterpret_cast<const char*>(reply.data), reply.size);
    ++c.ends;
    c.ended.raise();
  }

  const std::string payload_;
  const std::string caller_;
  const std::string key_;
};

/// What an instance tells its owner.
class owner final : public troupe::detail::instance_owner {
public:
  void call(troupe::detail::module_instance&,
            const troupe::detail::outgoing_call& c) noexcept override {
    // Answers at once, from another place than the module's: upper case of nothing, just itself.
    const std::string text = std::string(c.module) + "/" + std::string(c.version) + "/" +
                             std::string(c.function) + "/" + std::string(c.key) + "/" +
                             std::to_string(c.payload.size);
    c.settled(c.context, troupe_outcome_value, 0,
              {reinterpret_cast<const unsigned char*>(text.data()), text.size()});
  }
  void failed(troupe::detail::module_instance&, troupe::errc why,
              std::string_view detail) noexcept override {
    ++failures;
    failure = std::string(troupe::detail::message_of(why)) + ": " + std::string(detail);
  }
  void ended(troupe::detail::module_instance&) noexcept override {
    ++ends;
    end.raise();
  }

  int failures = 0;
  std::string failure;
  int ends = 0;
  flag end;
};

/// One launcher for all tests of a program, but for those that break it.
inline troupe::detail::process_launcher& launcher() {
  static troupe::detail::process_launcher one(options());
  return one;
}
inline troupe::thread_pool& pool() {
  static troupe::thread_pool one({.threads = 1});
  return one;
}

/// A started instance; killed, and its end awaited, when destroyed.
class running {
public:
  explicit running(const char* name = "subject", troupe::module_permissions permissions = {},
                   troupe::detail::process_launcher& by = launcher())
      : permissions_(std::move(permissions)) {
    instance_ = troupe::sync_wait(by.start({name, "", image(name), permissions_, pool(), owner_}));
  }
  running(const running&) = delete;
  running& operator=(const running&) = delete;
  ~running() {
    if (instance_ == nullptr) return;
    if (!owner_.end.raised()) instance_->kill(troupe::errc::worker_crashed, "the test is over");
    owner_.end.wait();
  }

  troupe::detail::process_instance& operator*() { return instance(); }
  troupe::detail::process_instance* operator->() { return &instance(); }
  subject::owner& owner() { return owner_; }

  /// The index of a function.
  std::uint32_t find(const char* function) {
    const auto index = instance_->manifest().find(function);
    if (!index) throw std::runtime_error(std::string("no function ") + function);
    return *index;
  }
  void start(call& c, const char* function) {
    c.function = find(function);
    instance_->call(c);
  }
  std::string ask(const char* function, std::string payload = {}) {
    call c(std::move(payload), "the test", "a key");
    start(c, function);
    if (!c.ended.wait()) instance_->kill(troupe::errc::timed_out, "the test waits no longer");
    c.ended.wait();
    return c.outcome();
  }

private:
  troupe::detail::process_instance& instance() {
    return static_cast<troupe::detail::process_instance&>(*instance_);
  }

  subject::owner owner_;
  troupe::module_permissions permissions_;
  std::unique_ptr<troupe::detail::module_instance> instance_;
};

/// What a start ends in: "started", or the error.
inline std::string start_error(const char* name, troupe::module_permissions permissions = {},
                               troupe::detail::process_launcher& by = launcher()) {
  try {
    running one(name, std::move(permissions), by);
    return "started";
  } catch (const std::exception& e) {
    return e.what();
  }
}

inline std::size_t open_descriptors() {
  std::size_t count = 0;
  DIR* const directory = ::opendir("/proc/self/fd");
  while (::readdir(directory) != nullptr) ++count;
  ::closedir(directory);
  return count;
}

}  // namespace subject
