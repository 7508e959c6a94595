// SPDX-License-Identifier: MIT
// Any words from a child in the memory that it shares with its host: each call ends once, and no
// byte outside of that memory is read.

#include <troupe/function/sandbox/call_ring.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <string>

namespace {

using namespace troupe::detail::sandbox;
namespace order = troupe::detail::order;

struct open_call final : troupe::detail::module_call {
  explicit open_call(std::size_t length) : text(length, 'p') {
    payload = {reinterpret_cast<const unsigned char*>(text.data()), text.size()};
    settle = [](troupe_module_call* self, std::uint32_t, std::uint32_t, troupe_bytes reply) {
      // All of it can be read.
      unsigned char all = 0;
      for (std::uint64_t i = 0; i != reply.size; ++i)
        all = static_cast<unsigned char>(all + reply.data[i]);
      auto& c = static_cast<open_call&>(*self);
      c.sum = all;
      ++c.ends;
    };
  }
  void give_back() noexcept override { ++ends; }

  const std::string text;
  unsigned char sum = 0;
  int ends = 0;
};

struct listener final : ring_listener {
  void started(troupe_bytes bytes) noexcept override { read(bytes.data, bytes.size); }
  void refused(std::string_view why) noexcept override { read(why.data(), why.size()); }
  bool permits(std::uint32_t cell, std::string_view module) noexcept override {
    read(module.data(), module.size());
    const bool permitted = module.empty() || module[0] % 2 == 0;
    if (!permitted) ring->answer(cell, 2, 0, {nullptr, 0});
    return permitted;
  }
  void asked(const question& q) noexcept override {
    for (const std::string_view one : {q.module, q.version, q.function, q.key}) {
      read(one.data(), one.size());
    }
    read(q.payload.data, q.payload.size);
    ring->answer(q.cell, 0, 0, {q.payload.data, q.payload.size});
  }
  void read(const void* data, std::uint64_t size) noexcept {
    const auto* const bytes = static_cast<const unsigned char*>(data);
    for (std::uint64_t i = 0; i != size; ++i) sum = static_cast<unsigned char>(sum + bytes[i]);
  }
  call_ring* ring = nullptr;
  unsigned char sum = 0;
};

/// The input, as numbers.
struct reader {
  template <class T>
  T next() {
    T value{};
    const std::size_t count = size < sizeof value ? size : sizeof value;
    std::memcpy(&value, data, count);
    data += count;
    size -= count;
    return value;
  }
  const std::uint8_t* data;
  std::size_t size;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const shared_memory host("host", file_size<host_file>, peer_may::read);
  const shared_memory child("child", file_size<child_file>, peer_may::write);
  auto& words = *reinterpret_cast<child_file*>(child.data());
  std::deque<open_call> calls;
  call_ring ring(host, child);
  listener heard;
  heard.ring = &ring;
  std::uint32_t tail = 0;
  reader in{data, size};
  while (in.size != 0) {
    switch (in.next<std::uint8_t>() % 10) {
      case 0:
        calls.emplace_back(in.next<std::uint8_t>() * std::size_t{64});
        calls.back().id = calls.size();
        static_cast<void>(ring.begin(calls.back(), false));
        break;
      case 1: {  // an entry
        const std::uint32_t kind = in.next<std::uint8_t>() % 10;
        const std::uint32_t cell = in.next<std::uint16_t>();
        words.queue.entries[tail % queue_length].store(kind << 16 | cell, order::relaxed);
        words.queue.tail.store(++tail, order::seq_cst);
        break;
      }
      case 2: {  // a reply
        const std::uint32_t cell = in.next<std::uint16_t>() % (cell_count + 1);
        const auto head = in.next<reply_head>();
        words.replies[cell].copy_from(&head, sizeof head);
        break;
      }
      case 3: {  // a question
        const std::uint32_t cell = in.next<std::uint8_t>();
        const auto head = in.next<outgoing_head>();
        words.outgoing[cell].copy_from(&head, sizeof head);
        break;
      }
      case 4:
        words.taken.store(in.next<std::uint32_t>(), order::release);
        break;
      case 5:
        words.queue.tail.store(in.next<std::uint32_t>(), order::seq_cst);
        break;
      case 6:
        ring.stop(in.next<std::uint8_t>());
        ring.tidy();
        break;
      case 8: {  // the host wants a call back
        const std::size_t which = in.next<std::uint8_t>();
        if (which < calls.size() && ring.withdraw(calls[which].id)) ++calls[which].ends;
        break;
      }
      case 9: {  // whose a call is, says the child
        const std::uint32_t cell = in.next<std::uint16_t>() % cell_count;
        words.claims[cell].store(in.next<std::uint8_t>() % 5, order::seq_cst);
        break;
      }
      default:
        if (ring.take(heard) == take_result::garbage) in.size = 0;
    }
  }
  static_cast<void>(ring.take(heard));
  ring.shut();
  ring.end(troupe::errc::worker_crashed, "the end");
  for (const open_call& c : calls) {
    if (c.ends != 1) std::abort();
  }
  return 0;
}
