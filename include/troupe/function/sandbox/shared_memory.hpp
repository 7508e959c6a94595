// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Memory that two processes see: a file in memory whose size nobody can change any more.
///
/// Layer: function. Linux.

#include <cerrno>
#include <cstddef>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <troupe/function/sandbox/descriptor.hpp>

namespace troupe::detail::sandbox {

/// Pages of a file, mapped and shared; unmapped when destroyed.
class mapping {
public:
  mapping() noexcept = default;
  mapping(mapping&& other) noexcept
      : begin_(std::exchange(other.begin_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  mapping& operator=(mapping&& other) noexcept {
    std::swap(begin_, other.begin_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~mapping() {
    if (begin_ != nullptr) ::munmap(begin_, size_);
  }

  /// Empty if the system refuses; errno says why.
  static mapping of(int file, std::size_t size, int protection) noexcept {
    mapping made;
    void* const at = ::mmap(nullptr, size, protection, MAP_SHARED, file, 0);
    if (at == MAP_FAILED) return made;
    made.begin_ = at;
    made.size_ = size;
    return made;
  }

  explicit operator bool() const noexcept { return begin_ != nullptr; }
  unsigned char* data() const noexcept { return static_cast<unsigned char*>(begin_); }
  std::size_t size() const noexcept { return size_; }

private:
  void* begin_ = nullptr;
  std::size_t size_ = 0;
};

/// Who may write to shared memory, besides whoever made it.
enum class peer_may { read, write };

/// A memory file and its mapping. Its size is sealed: no access to the mapping ends in SIGBUS
/// because the other side has cut the file short.
class shared_memory {
public:
  shared_memory() noexcept = default;

  /// Throws `std::system_error`. With `peer_may::read` nobody else can map it for writing.
  shared_memory(const char* name, std::size_t size, peer_may peer)
      : file_(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING)) {
    if (!file_ || ::ftruncate(file_.get(), static_cast<::off_t>(size)) != 0) fail("memory file");
    mapped_ = mapping::of(file_.get(), size, PROT_READ | PROT_WRITE);
    if (!mapped_) fail("shared mapping");
    const int size_is_fixed = F_SEAL_SHRINK | F_SEAL_GROW;
#if defined(F_SEAL_FUTURE_WRITE)
    // Kernels before 5.1 do not know it; the host trusts nothing in there in any case.
    const int all = size_is_fixed | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
    if (peer == peer_may::read && ::fcntl(file_.get(), F_ADD_SEALS, all) == 0) return;
#endif
    if (::fcntl(file_.get(), F_ADD_SEALS, size_is_fixed | F_SEAL_SEAL) != 0) fail("memory seals");
  }

  int file() const noexcept { return file_.get(); }
  unsigned char* data() const noexcept { return mapped_.data(); }
  std::size_t size() const noexcept { return mapped_.size(); }

  /// Gives pages back to the system; they read as zero then. Best effort.
  void discard(std::size_t offset, std::size_t size) const noexcept {
    if (size == 0) return;
    static_cast<void>(::fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                  static_cast<::off_t>(offset), static_cast<::off_t>(size)));
  }

private:
  [[noreturn]] static void fail(const char* what) {
    throw std::system_error(errno, std::generic_category(), what);
  }

  descriptor file_;
  mapping mapped_;
};

}  // namespace troupe::detail::sandbox
