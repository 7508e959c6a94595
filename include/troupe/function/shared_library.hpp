// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A module's library, mapped into this process, and its table, checked.
///
/// Layer: function. Linux.

#include <dlfcn.h>

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <troupe/base/error.hpp>
#include <troupe/base/immortal.hpp>
#include <troupe/function/module_abi.hpp>
#include <troupe/function/module_image.hpp>

namespace troupe::detail {

/// Held while a library is opened or closed. The dynamic linker has a lock of its own; this one is
/// for those who look at what happens before what: a library may lie where another one was.
inline std::mutex& linker_lock() {
  static std::mutex lock;
  return lock;
}

/// Libraries that the dynamic linker would not let go of: a thread that still runs has a destructor
/// of theirs to call. Their memory files stay open, because the linker knows a library by its path,
/// and the number of a descriptor that was closed may soon stand for another one.
class lingering_libraries {
public:
  static lingering_libraries& instance() {
    static immortal<lingering_libraries> all;
    return all.get();
  }

  static std::string path_of(const module_image& image) {
    return "/proc/self/fd/" + std::to_string(image.descriptor());
  }

  /// `image` was closed for the last time. Looks at the others as well: their threads may have
  /// ended.
  void add(module_image image) {
    const std::lock_guard guard(lock_);
    images_.push_back(std::move(image));
    std::erase_if(images_, [](const module_image& i) { return !lingers(i); });
  }

  std::size_t count() {
    const std::lock_guard guard(lock_);
    std::erase_if(images_, [](const module_image& i) { return !lingers(i); });
    return images_.size();
  }

private:
  static bool lingers(const module_image& image) {
    void* const still = ::dlopen(path_of(image).c_str(), RTLD_NOLOAD | RTLD_LAZY | RTLD_LOCAL);
    if (still == nullptr) return false;
    ::dlclose(still);  // the linker tries again
    void* const again = ::dlopen(path_of(image).c_str(), RTLD_NOLOAD | RTLD_LAZY | RTLD_LOCAL);
    if (again == nullptr) return false;
    ::dlclose(again);
    return true;
  }

  std::mutex lock_;  // guards images_; held while the linker works
  std::vector<module_image> images_;
};

/// Mapped as long as this object lives, at least. Opening and closing it runs the library's own
/// code: static constructors and destructors.
class shared_library {
public:
  /// Maps the image. Blocks. Throws `errc::start_failed`: the dynamic linker refused it, or it is
  /// no module, or one for another version of the interface; the text says which.
  explicit shared_library(module_image image);
  shared_library(const shared_library&) = delete;
  shared_library& operator=(const shared_library&) = delete;
  ~shared_library() { let_go(); }

  /// There for as long as the library is mapped.
  const troupe_module_table& table() const noexcept { return *table_; }
  std::size_t size() const noexcept { return image_.size(); }

private:
  void let_go() noexcept {
    const std::lock_guard guard(linker_lock());
    ::dlclose(handle_);
    try {
      lingering_libraries::instance().add(std::move(image_));
    } catch (...) {
      // No memory: the file is closed now.
    }
  }
  [[noreturn]] void refuse(std::string text) {
    let_go();
    throw error(errc::start_failed, worker_id(), std::move(text));
  }
  void look_at_table();

  module_image image_;
  void* handle_ = nullptr;
  const troupe_module_table* table_ = nullptr;
  bool has_entry_ = false;
};

inline shared_library::shared_library(module_image image) : image_(std::move(image)) {
  const std::string path = lingering_libraries::path_of(image_);
  {
    const std::lock_guard guard(linker_lock());
    handle_ = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle_ == nullptr) {
      const char* const why = ::dlerror();
      throw error(errc::start_failed, worker_id(), why != nullptr ? why : "it cannot be loaded");
    }
    void* const symbol = ::dlsym(handle_, module_entry_symbol);
    if (symbol != nullptr) table_ = reinterpret_cast<troupe_module_entry_function>(symbol)();
    has_entry_ = symbol != nullptr;
  }
  look_at_table();
}

/// The first two words have their places in all versions of the interface.
inline void shared_library::look_at_table() {
  if (!has_entry_) {
    refuse("it is a library, but no module: it has no " + std::string(module_entry_symbol) +
           " (TROUPE_MODULE)");
  }
  if (table_ == nullptr || table_->magic != troupe_module_magic) {
    refuse("it is no module: its table is not one");
  }
  if (table_->abi != troupe_module_abi) {
    refuse("it was built for version " + std::to_string(table_->abi) +
           " of the interface between modules and hosts; this is version " +
           std::to_string(troupe_module_abi));
  }
  const troupe_module_table& t = *table_;
  const bool is_whole = t.size >= sizeof(troupe_module_table) && t.name != nullptr &&
                        t.version != nullptr && t.build != nullptr && t.create != nullptr &&
                        t.call != nullptr && t.stop != nullptr && t.wake != nullptr &&
                        t.close != nullptr && t.destroy != nullptr &&
                        (t.functions != nullptr || t.function_count == 0);
  if (!is_whole) refuse("its table is not whole");
}

}  // namespace troupe::detail
