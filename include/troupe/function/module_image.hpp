// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The library of a module as a file in memory that nobody can change: a copy, checked.
///
/// Layer: function. Linux.
///
/// A library that is mapped from a file on disk is at the mercy of whoever writes to that file: one
/// that is cut short while it is mapped kills the program by SIGBUS. So what is mapped, here or in
/// a child process, is always a copy.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include <troupe/base/error.hpp>
#include <troupe/function/elf_image.hpp>

namespace troupe {
namespace detail {

/// A file descriptor that is closed.
class owned_descriptor {
public:
  explicit owned_descriptor(int fd = -1) noexcept : fd_(fd) {}
  owned_descriptor(owned_descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  owned_descriptor& operator=(owned_descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~owned_descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }

  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }

private:
  int fd_;
};

/// What the system says of `number`, which it has put into `errno`.
inline std::string system_text(int number) { return std::generic_category().message(number); }

}  // namespace detail

/// A handle to the copy; copies of the handle share it. Empty, or a whole ELF shared object for
/// this kind of machine: nothing more is known of it.
///
/// Thread safety: a value.
class module_image {
public:
  module_image() noexcept = default;

  /// Copies the library at `path`, up to the end of what is ever mapped: debug information stays
  /// behind. Blocks. Throws `errc::no_such_module` if there is no such file or it cannot be read,
  /// `errc::start_failed` if it is no such library, or there is no room.
  [[nodiscard]] static module_image from_file(const std::string& path);

  /// The same from bytes.
  [[nodiscard]] static module_image from_bytes(std::span<const std::byte> bytes);

  explicit operator bool() const noexcept { return static_cast<bool>(file_); }

  /// The descriptor of the sealed memory file, which is closed with the last handle; to be mapped
  /// through /proc/self/fd, or sent to another process. Programs that are started do not inherit
  /// it.
  [[nodiscard]] int descriptor() const noexcept { return file_->descriptor.get(); }
  [[nodiscard]] std::size_t size() const noexcept { return file_->size; }

private:
  struct memory_file {
    detail::owned_descriptor descriptor;
    std::size_t size = 0;
  };

  explicit module_image(std::shared_ptr<const memory_file> f) noexcept : file_(std::move(f)) {}

  [[noreturn]] static void refuse(errc why, std::string text) {
    throw error(why, worker_id(), std::move(text));
  }
  static std::shared_ptr<memory_file> make_file();
  static module_image seal(std::shared_ptr<memory_file> f, std::size_t size);
  static void append(int to, std::span<const std::byte> bytes);
  static void append(int to, int from, std::size_t size);

  std::shared_ptr<const memory_file> file_;
};

inline std::shared_ptr<module_image::memory_file> module_image::make_file() {
  auto made = std::make_shared<memory_file>();
  made->descriptor =
      detail::owned_descriptor(::memfd_create("troupe-module", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!made->descriptor) {
    refuse(errc::start_failed, "no memory file: " + detail::system_text(errno));
  }
  return made;
}

inline void module_image::append(int to, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ::ssize_t written = ::write(to, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) refuse(errc::start_failed, "no room for it: " + detail::system_text(errno));
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

inline void module_image::append(int to, int from, std::size_t size) {
  ::off_t at = 0;
  while (size != 0) {
    const ::ssize_t copied = ::sendfile(to, from, &at, size);
    if (copied < 0 && errno == EINTR) continue;
    if (copied < 0) refuse(errc::start_failed, "it was not copied: " + detail::system_text(errno));
    if (copied == 0) refuse(errc::start_failed, "it became shorter while it was copied");
    size -= static_cast<std::size_t>(copied);
  }
}

/// What was copied is looked at once more: the original may have changed meanwhile.
inline module_image module_image::seal(std::shared_ptr<memory_file> f, std::size_t size) {
  f->size = size;
  const int fd = f->descriptor.get();
  std::array<std::byte, 4096> head;
  const ::ssize_t length = ::pread(fd, head.data(), head.size(), 0);
  if (length < 0) refuse(errc::start_failed, "it was not copied: " + detail::system_text(errno));
  const std::span<const std::byte> first(head.data(), static_cast<std::size_t>(length));
  const detail::elf_findings found = detail::look_at_elf(first, size);
  if (!found.fault.empty()) refuse(errc::start_failed, std::string(found.fault));
  if (::fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    refuse(errc::start_failed, "the copy was not sealed: " + detail::system_text(errno));
  }
  return module_image(std::move(f));
}

inline module_image module_image::from_file(const std::string& path) {
  const detail::owned_descriptor from(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!from) refuse(errc::no_such_module, path + ": " + detail::system_text(errno));
  struct ::stat status{};
  if (::fstat(from.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
    refuse(errc::no_such_module, path + ": it is not a file");
  }
  std::array<std::byte, 4096> head;
  const ::ssize_t length = ::pread(from.get(), head.data(), head.size(), 0);
  if (length < 0) refuse(errc::no_such_module, path + ": " + detail::system_text(errno));
  const detail::elf_findings found =
      detail::look_at_elf(std::span(head.data(), static_cast<std::size_t>(length)),
                          static_cast<std::uint64_t>(status.st_size));
  if (!found.fault.empty()) refuse(errc::start_failed, path + ": " + std::string(found.fault));
  try {
    auto to = make_file();
    append(to->descriptor.get(), from.get(), found.mapped);
    return seal(std::move(to), found.mapped);
  } catch (const error& e) {
    refuse(static_cast<errc>(e.code().value()), path + ": " + e.detail());
  }
}

inline module_image module_image::from_bytes(std::span<const std::byte> bytes) {
  const detail::elf_findings found =
      detail::look_at_elf(bytes.first((std::min<std::size_t>)(bytes.size(), 4096)), bytes.size());
  if (!found.fault.empty()) refuse(errc::start_failed, std::string(found.fault));
  auto to = make_file();
  append(to->descriptor.get(), bytes.first(found.mapped));
  return seal(std::move(to), found.mapped);
}

}  // namespace troupe
