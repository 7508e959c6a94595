// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What host and child share: two memory files, one that each of them writes.
///
/// Layer: function. Linux, where both sides are the same build of this header: `layout_version` is
/// compared when the helper starts.
///
/// A call has a *cell* in each file, of the same number: the host writes the request into its own,
/// the child the reply. What is too long for a cell lies in the arena behind. Two queues of numbers
/// say what is new. There are so many more places in a queue than cells that a queue never is full,
/// so neither side ever waits for the other:
///
/// - the host has at most one call, one stop and one answer in its queue for each cell, and one
///   close;
/// - the child has at most one reply, or word that it has passed a call that was taken back, or one
///   call of its own for each cell, and one word of its start.
///
/// A call that the child has not begun can be taken back by the host: a word for each cell says
/// whose it is, and whoever changes it first has it.
///
/// The host believes nothing that it reads in the child's file: it reads each word once, and checks
/// it. The child cannot write to the host's file.

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <troupe/config.hpp>
#include <troupe/sync/atomic.hpp>

namespace troupe::detail::sandbox {

inline constexpr std::uint32_t layout_version = 3;

inline constexpr std::uint32_t cell_count = 1024;        // calls in flight
inline constexpr std::uint32_t outgoing_count = 256;     // calls of the module in flight
inline constexpr std::uint32_t queue_length = 4096;      // a power of two
inline constexpr std::uint32_t start_cell = cell_count;  // the child's reply to its start
inline constexpr std::size_t cell_size = 256;
inline constexpr std::uint64_t arena_size = std::uint64_t{64} << 20;
/// The most bytes of one message.
inline constexpr std::uint64_t largest_message = std::uint64_t{32} << 20;
/// The most bytes of the names of a call of the module: module, version, function and key together;
/// and of the reason why it does not start.
inline constexpr std::uint64_t largest_names = 4096;

static_assert(2 * cell_count + outgoing_count + 1 <= queue_length);
static_assert((queue_length & (queue_length - 1)) == 0);

/// What an entry of a queue says, and of which cell.
enum class entry_kind : std::uint32_t {
  // host to child
  call = 1,
  stop,
  answer,  // to a call of the module
  close,
  // child to host
  reply,
  outgoing,  // the module calls
  started,   // the manifest is the reply in start_cell
  refused,   // why it did not start is the reply in start_cell
  passed,    // the call had been taken back: its cell and its block are the host's again
};

/// Whose a call is that lies in the host's queue.
enum call_claim : std::uint32_t {
  claim_none = 0,
  claim_open = 1,   ///< Stored by the host before its entry: whoever is first.
  claim_begun = 2,  ///< The child has it, and replies to it.
  claim_back = 3,   ///< The host has taken it back: the child passes it.
};

[[nodiscard]] constexpr std::uint32_t to_entry(entry_kind kind, std::uint32_t cell) noexcept {
  return static_cast<std::uint32_t>(kind) << 16 | cell;
}
[[nodiscard]] constexpr std::uint32_t kind_of(std::uint32_t entry) noexcept { return entry >> 16; }
[[nodiscard]] constexpr std::uint32_t cell_of(std::uint32_t entry) noexcept {
  return entry & 0xFFFFu;
}

/// Numbers in order, from the writer of the file to the other side. `tail` counts all that were
/// ever put; the reader counts those it took in its own file.
struct shared_queue {
  // Stored with seq_cst behind the entry; the store is also one side of each "is anybody awake"
  // question below.
  alignas(cache_line_size) atomic<std::uint32_t> tail;
  alignas(cache_line_size) atomic<std::uint32_t> entries[queue_length];
};

inline constexpr std::uint64_t in_cell = ~std::uint64_t{0};  // the bytes are in the cell itself

/// A call, and what is in front of its bytes: key, caller, payload, one behind the other.
struct request_head {
  std::uint64_t id;
  std::int64_t deadline;
  std::uint32_t function;
  std::uint32_t format;
  std::uint32_t key_size;
  std::uint32_t caller_size;
  std::uint64_t payload_size;
  std::uint64_t block;  // offset in the arena, or in_cell
};

/// How a call has ended.
struct reply_head {
  std::uint32_t outcome;
  std::uint32_t code;
  std::uint64_t size;
  std::uint64_t block;
};

/// A call of the module: module, version, function, key, payload, one behind the other.
struct outgoing_head {
  std::int64_t deadline;
  std::uint32_t format;
  std::uint32_t module_size;
  std::uint32_t version_size;
  std::uint32_t function_size;
  std::uint32_t key_size;
  std::uint32_t reserved;
  std::uint64_t payload_size;
  std::uint64_t block;
};

/// A cell as whoever wrote it sees it.
template <class Head>
struct alignas(cache_line_size) plain_cell {
  static constexpr std::size_t room = cell_size - sizeof(Head);

  Head head;
  unsigned char bytes[room];
};
static_assert(sizeof(plain_cell<request_head>) == cell_size);
static_assert(sizeof(plain_cell<reply_head>) == cell_size);
static_assert(sizeof(plain_cell<outgoing_head>) == cell_size);

/// A cell that the other side may be writing to at this moment: only ever copied out, word by word.
struct alignas(cache_line_size) foreign_cell {
  atomic<std::uint64_t> words[cell_size / sizeof(std::uint64_t)];

  /// A copy of the first bytes. What is behind the copy has no influence any more.
  void copy_to(void* to, std::size_t size) const noexcept {
    auto* out = static_cast<unsigned char*>(to);
    for (std::size_t i = 0; size != 0; ++i) {
      const std::uint64_t word = words[i].load(order::relaxed);
      const std::size_t part = size < sizeof word ? size : sizeof word;
      std::memcpy(out, &word, part);
      out += part;
      size -= part;
    }
  }
  void copy_from(const void* from, std::size_t size) noexcept {
    const auto* in = static_cast<const unsigned char*>(from);
    for (std::size_t i = 0; size != 0; ++i) {
      std::uint64_t word = 0;
      const std::size_t part = size < sizeof word ? size : sizeof word;
      std::memcpy(&word, in, part);
      words[i].store(word, order::relaxed);
      in += part;
      size -= part;
    }
  }
};
static_assert(sizeof(foreign_cell) == cell_size);
static_assert(atomic<std::uint32_t>::is_always_lock_free &&
                  atomic<std::uint64_t>::is_always_lock_free,
              "shared words belong to two processes");

/// How the host learns of what the child puts into its queue.
enum attention : std::uint32_t {
  by_event = 0,     ///< The child raises its event: nobody looks.
  by_looking = 1,   ///< A thread of the host looks at the tail all the time.
  by_sleeping = 2,  ///< A thread of the host sleeps at the tail, or is about to.
};

/// The host's file: the child maps it for reading.
struct host_file {
  shared_queue queue;

  // How many entries of the child's queue the host is done with: their blocks are free.
  alignas(cache_line_size) atomic<std::uint32_t> taken;
  // One of `attention`. The host stores it before it looks, seq_cst, and looks once more after it
  // has stored a lesser one; the child reads it, seq_cst, behind its tail. One of the two sees the
  // other.
  atomic<std::uint32_t> looking;
  // 0: the host does not know the child yet; 1: the module may be loaded. A futex.
  atomic<std::uint32_t> go;

  plain_cell<request_head> requests[cell_count];
  plain_cell<reply_head> answers[outgoing_count];
};

/// The child's file. The host reads it as what a stranger has written.
struct child_file {
  shared_queue queue;

  // How many entries of the host's queue the child has taken: a call before it begins, an answer
  // when it is done with it.
  alignas(cache_line_size) atomic<std::uint32_t> taken;
  // 1: the child sleeps at this word, or is about to. It stores 1 before it looks at the host's
  // tail for the last time, seq_cst; the host exchanges it for 0, seq_cst, behind its tail. One of
  // the two sees the other.
  atomic<std::uint32_t> asleep;
  // The parts of the sandbox that are in force, as the child said before it loaded its module,
  // which may say otherwise later: nothing depends on it.
  atomic<std::uint32_t> level;
  // 1: an allocation of the module was refused.
  atomic<std::uint32_t> out_of_memory;

  // One of `call_claim` for each cell: exchanged by both sides for what they want, where it is
  // claim_open. What the child has stored here without that harms its own callers alone: a call
  // that it keeps without having begun it ends at its limit, as one that it has begun.
  atomic<std::uint32_t> claims[cell_count];

  foreign_cell replies[cell_count + 1];
  foreign_cell outgoing[outgoing_count];
};

inline constexpr std::size_t page_size = 4096;
[[nodiscard]] constexpr std::size_t whole_pages(std::size_t size) noexcept {
  return (size + page_size - 1) / page_size * page_size;
}

/// Where the arena of a file begins.
template <class File>
inline constexpr std::size_t arena_offset = whole_pages(sizeof(File));

template <class File>
inline constexpr std::size_t file_size = arena_offset<File> + arena_size;

}  // namespace troupe::detail::sandbox
