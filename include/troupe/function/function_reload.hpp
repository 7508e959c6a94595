// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A new instance beside the old one: because somebody asks for it, or because its file has
/// changed.
///
/// Layer: function.

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <troupe/coro/as_result.hpp>
#include <troupe/coro/offload.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/function/file_identity.hpp>
#include <troupe/function/function_core.hpp>
#include <troupe/function/module_slot.hpp>
#include <troupe/sync/spin_lock.hpp>

namespace troupe::detail {

/// A new instance beside each that lives, of the version that is meant from then on; where none
/// lives, the next call starts one.
inline task<> function_core::reload(std::string module, std::string version, bool names_version) {
  std::vector<std::shared_ptr<load_ticket>> tickets;
  to_do todo;
  {
    const spin_guard guard(lock_);
    if (closed_) throw error(errc::broker_gone, worker_id(module, ""));
    module_record& record = record_of(module);
    if (!names_version) version = record.remembered;
    std::vector<std::string> keys;
    for (const auto& [name, s] : slots_) {
      const bool lives = s->current != nullptr || s->attempt;
      const bool is_meant = s->version == version || s->version == record.remembered;
      if (&s->record == &record && lives && is_meant) keys.push_back(s->key);
    }
    std::sort(keys.begin(), keys.end());
    keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
    if (keys.empty()) record.remembered = version;
    for (const std::string& key : keys) {
      const slot_ptr s = slot_locked(record, version, key);
      s->tickets.push_back(std::make_shared<load_ticket>());
      s->tickets.back()->attempt = s->attempts + 1;  // the next to begin: this one is too old
      tickets.push_back(s->tickets.back());
      if (s->attempt) {
        s->start_again = true;
        s->start_again_remembers = names_version;
      } else {
        begin_start(*s, true, names_version, todo);
      }
    }
  }
  carry_out(todo);
  for (const auto& t : tickets) {
    auto over = t->over.acquire();
    co_await std::move(over);
  }
  for (const auto& t : tickets) {
    if (t->failure) std::rethrow_exception(std::exchange(t->failure, nullptr));
  }
}

inline task<> function_core::watch_files(core_ptr core) {
  std::vector<file_look> files;
  for (;;) {
    const result<void> slept = co_await as_result(sleep_for(core->options_.watch_files));
    if (!slept.has_value() || !core->look_at_files(files)) co_return;
    auto look = [&files] {
      for (file_look& f : files) f.seen = file_identity::of(f.path);
    };
    auto looked = offload(std::move(look));
    const result<void> seen = co_await as_result(std::move(looked));
    if (seen.has_value()) core->files_seen(files);
    files.clear();
  }
}

/// False: there is nothing to look at, and whoever starts a module begins to look again.
inline bool function_core::look_at_files(std::vector<file_look>& files) {
  const spin_guard guard(lock_);
  for (const auto& r : instances_) {
    const bool is_current = r->slot->current == r.get();
    if (is_current && !r->slot->path.empty()) files.push_back({r->slot, r->slot->path, {}});
  }
  watching_ = !files.empty() && !closed_;
  return watching_;
}

/// A file that is being written is not loaded: it has to be the same in two looks.
inline void function_core::files_seen(const std::vector<file_look>& files) noexcept {
  to_do todo;
  {
    const spin_guard guard(lock_);
    for (const auto& [s, path, file] : files) {
      if (path != s->path) continue;  // it has come from elsewhere meanwhile
      const bool was_seen = std::exchange(s->seen, file) == file;
      if (!file || file == s->loaded || !was_seen || s->attempt || s->current == nullptr) continue;
      begin_start(*s, true, false, todo);
    }
  }
  carry_out(todo);
}

}  // namespace troupe::detail
