// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Immutable bytes that many can hold: one payload to many workers, sockets or processes.
///
/// Layer: base. A copy or a slice costs one atomic increment; an empty value allocates nothing.

#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/config.hpp>

// house: allow words: the alias is a layer above, and no model checker cares for these counts
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace troupe {
namespace detail {

/// The counted head of whatever keeps the bytes alive.
struct bytes_owner {
  explicit bytes_owner(void (*free_it)(const bytes_owner*) noexcept) noexcept : destroy(free_it) {}

  void (*const destroy)(const bytes_owner*) noexcept;

  // std::atomic rather than the alias of sync/: see the same count in error.hpp.
  // house: allow words: see the include
  mutable std::atomic<std::uint32_t> owners{1};

  friend void add_ref(const bytes_owner* owner) noexcept {
    owner->owners.fetch_add(1, std::memory_order_relaxed);
  }
  friend void release(const bytes_owner* owner) noexcept {
    // Pairs with itself: every owner's last read happens before the bytes are freed.
    if (owner->owners.fetch_sub(1, std::memory_order_acq_rel) == 1) owner->destroy(owner);
  }
};

}  // namespace detail

/// A view of bytes together with a share in their owner.
///
/// Thread safety: as a `std::string`; copies are independent, so each thread takes its own.
class shared_bytes {
public:
  static constexpr std::size_t npos = static_cast<std::size_t>(-1);

  shared_bytes() noexcept = default;
  shared_bytes(const shared_bytes&) noexcept = default;
  shared_bytes(shared_bytes&& other) noexcept
      : owner_(std::move(other.owner_)),
        data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)) {}
  shared_bytes& operator=(const shared_bytes&) noexcept = default;
  shared_bytes& operator=(shared_bytes&& other) noexcept;
  ~shared_bytes() = default;

  /// Takes the container over; its payload is not copied.
  shared_bytes(std::string&& text);
  shared_bytes(std::vector<std::byte>&& bytes);

  /// Copies.
  shared_bytes(std::string_view text);
  shared_bytes(const char* text) : shared_bytes(std::string_view(text)) {}
  shared_bytes(std::span<const std::byte> bytes);

  /// Shares bytes that belong to somebody else and calls `deleter()` when the last holder is gone,
  /// at once if `size` is 0 or the allocation fails. `deleter` must not throw; it runs on whichever
  /// thread drops the last share.
  template <class Deleter>
  [[nodiscard]] static shared_bytes adopt(const void* data, std::size_t size, Deleter deleter);

  [[nodiscard]] const std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }

  [[nodiscard]] const std::byte* begin() const noexcept { return data_; }
  [[nodiscard]] const std::byte* end() const noexcept { return data_ + size_; }

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  [[nodiscard]] std::string_view view() const noexcept {
    return {reinterpret_cast<const char*>(data_), size_};
  }

  /// The `count` bytes from `offset` on, or all of them; they must be there. Shares the owner, so a
  /// small slice keeps the whole payload alive.
  [[nodiscard]] shared_bytes slice(std::size_t offset, std::size_t count = npos) const noexcept;

  friend bool operator==(const shared_bytes& a, const shared_bytes& b) noexcept {
    return a.view() == b.view();
  }

private:
  using owner_ptr = intrusive_ptr<const detail::bytes_owner>;

  template <class Payload>
  struct holder;
  struct block;

  shared_bytes(owner_ptr owner, const void* data, std::size_t size) noexcept
      : owner_(std::move(owner)), data_(static_cast<const std::byte*>(data)), size_(size) {}

  template <class Container>
  [[nodiscard]] static shared_bytes hold(Container&& container);
  [[nodiscard]] static shared_bytes copy(const void* data, std::size_t size);

  // Null exactly if size_ is 0.
  owner_ptr owner_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// -- Owners --------------------------------------------------------------------------------------

/// Keeps a container or a deleter.
template <class Payload>
struct shared_bytes::holder : detail::bytes_owner {
  explicit holder(Payload&& kept)
      : bytes_owner(
            [](const bytes_owner* self) noexcept { delete static_cast<const holder*>(self); }),
        payload(std::move(kept)) {}

  Payload payload;
};

/// Followed by the copied bytes, in the same allocation.
struct shared_bytes::block : detail::bytes_owner {
  block() noexcept
      : bytes_owner([](const bytes_owner* self) noexcept {
          const auto* const at = static_cast<const block*>(self);
          at->~block();
          ::operator delete(const_cast<block*>(at));
        }) {}
};

namespace detail {

/// Runs a deleter when the last share of the bytes goes, or when there never was one.
template <class Deleter>
class deleter_guard {
public:
  explicit deleter_guard(Deleter&& deleter) : deleter_(std::move(deleter)) {}
  deleter_guard(deleter_guard&& other) noexcept
      : deleter_(std::move(other.deleter_)), armed_(std::exchange(other.armed_, false)) {}
  deleter_guard& operator=(deleter_guard&&) = delete;
  ~deleter_guard() {
    if (armed_) deleter_();
  }

private:
  Deleter deleter_;
  bool armed_ = true;
};

}  // namespace detail

// -- shared_bytes --------------------------------------------------------------------------------

inline shared_bytes& shared_bytes::operator=(shared_bytes&& other) noexcept {
  shared_bytes taken(std::move(other));
  owner_.swap(taken.owner_);
  data_ = taken.data_;
  size_ = taken.size_;
  return *this;
}

inline shared_bytes::shared_bytes(std::string&& text) : shared_bytes(hold(std::move(text))) {}

inline shared_bytes::shared_bytes(std::vector<std::byte>&& bytes)
    : shared_bytes(hold(std::move(bytes))) {}

inline shared_bytes::shared_bytes(std::string_view text)
    : shared_bytes(copy(text.data(), text.size())) {}

inline shared_bytes::shared_bytes(std::span<const std::byte> bytes)
    : shared_bytes(copy(bytes.data(), bytes.size())) {}

template <class Deleter>
shared_bytes shared_bytes::adopt(const void* data, std::size_t size, Deleter deleter) {
  detail::deleter_guard<Deleter> guard(std::move(deleter));
  if (size == 0) return {};
  owner_ptr owner(new holder<detail::deleter_guard<Deleter>>(std::move(guard)), adopt_ref);
  return {std::move(owner), data, size};
}

template <class Container>
shared_bytes shared_bytes::hold(Container&& container) {
  if (container.empty()) return {};
  auto* const kept = new holder<std::remove_cvref_t<Container>>(std::move(container));
  // Asked for only now: a short string's bytes moved with it.
  return {owner_ptr(kept, adopt_ref), kept->payload.data(), kept->payload.size()};
}

inline shared_bytes shared_bytes::copy(const void* data, std::size_t size) {
  if (size == 0) return {};
  void* const memory = ::operator new(sizeof(block) + size);
  owner_ptr owner(::new (memory) block, adopt_ref);
  void* const bytes = static_cast<std::byte*>(memory) + sizeof(block);
  std::memcpy(bytes, data, size);
  return {std::move(owner), bytes, size};
}

inline shared_bytes shared_bytes::slice(std::size_t offset, std::size_t count) const noexcept {
  TROUPE_ASSERT(offset <= size_, "a slice begins behind the last byte");
  TROUPE_ASSERT(count == npos || count <= size_ - offset, "a slice ends behind the last byte");
  const std::size_t length = count == npos ? size_ - offset : count;
  if (length == 0) return {};
  return {owner_, data_ + offset, length};
}

}  // namespace troupe
