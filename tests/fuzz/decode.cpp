// SPDX-License-Identifier: MIT
// Any bytes as a message: refused by name, or a value whose encoding is those very bytes.

#include <troupe/codec/decode.hpp>
#include <troupe/codec/encode.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "../codec/sample.hpp"

namespace {

template <class T>
troupe::result<T> read(std::span<const std::byte> message) {
  auto read = troupe::decode<T>(message);
  if (read.has_value()) return read;
  const auto code = read.code();
  const bool is_named = code == troupe::errc::bad_message || code == troupe::errc::too_large ||
                        code == std::errc::state_not_recoverable;  // a hook's own
  if (!is_named) std::abort();
  return read;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // The fingerprint is put there, or hardly any input would come behind it.
  std::vector<std::byte> message{troupe::codec_format_version};
  const auto start = [&](std::uint32_t shape) {
    message.resize(1);
    for (int shift = 0; shift != 32; shift += 8) {
      message.push_back(static_cast<std::byte>(shape >> shift));
    }
    const auto* const bytes = reinterpret_cast<const std::byte*>(data);
    message.insert(message.end(), bytes, bytes + size);
  };

  start(troupe::shape_of<sample::ordered>);
  const auto in_order = read<sample::ordered>(message);
  if (in_order.has_value() && troupe::encode(*in_order) != message) std::abort();

  // What has no order may come back in another one, but with the same number of bytes.
  start(troupe::shape_of<sample::everything>);
  const auto any_order = read<sample::everything>(message);
  if (any_order.has_value() && troupe::encode(*any_order).size() != message.size()) std::abort();

  // As it is, head and all.
  static_cast<void>(read<sample::point>(std::as_bytes(std::span(data, size))).has_value());
  return 0;
}
