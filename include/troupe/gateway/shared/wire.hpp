// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What the processes of one gateway say to one another.
///
/// Layer: gateway. Plain values, for the codec.

#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include <troupe/base/error.hpp>
#include <troupe/base/result.hpp>
#include <troupe/base/shared_bytes.hpp>
#include <troupe/codec/decode.hpp>
#include <troupe/codec/encode.hpp>
#include <troupe/gateway/delivery.hpp>
#include <troupe/gateway/headers.hpp>
#include <troupe/gateway/request.hpp>
#include <troupe/gateway/response.hpp>
#include <troupe/gateway/socket_message.hpp>

namespace troupe::detail::wire {

// --- values -------------------------------------------------------------------------------------

struct field {
  std::string name;
  std::string value;
};

struct asked {
  std::string method;
  std::string target;
  std::vector<field> fields;
  shared_bytes body;
  std::string peer;
};

struct said {
  std::int32_t status = 0;
  std::vector<field> fields;
  shared_bytes body;
  std::uint64_t session = 0;  // that a WebSocket has at `host`; 0: none
  std::string host;
};

struct message {
  shared_bytes payload;
  bool is_binary = false;
};

struct failure {
  std::string shard;
  std::int32_t code = 0;  // an `errc`
};

struct told {
  std::uint64_t sockets = 0;
  std::uint64_t dropped = 0;
  std::uint64_t shards = 0;
  std::vector<failure> failures;
};

struct reply {
  std::string shard;
  std::string text;
  std::int32_t code = 0;  // an `errc`, or `other_exception`, whose text is `text`; 0: the answer
};
inline constexpr std::int32_t other_exception = -1;
struct replies {
  std::vector<reply> all;
};

/// One that has a place at a shard for as long as its WebSocket is open.
struct guest {
  std::string uid;
  std::uint64_t number = 0;
};
struct shard_report {
  std::string cluster;
  std::string shard;
  std::uint64_t number = 0;  // among those of its cluster
  std::uint64_t mark = 0;    // no other shard has it, ever; the later, the higher
  std::vector<guest> guests;
};
struct host_report {
  std::vector<shard_report> shards;
};

struct shard_view {
  std::string id;
  std::string host;
  std::uint64_t connections = 0;
};
struct cluster_view {
  std::string name;
  std::vector<shard_view> shards;
};
struct view {
  std::vector<cluster_view> clusters;
};

struct nothing {
  std::uint8_t unused = 0;
};

// --- questions to the keeper --------------------------------------------------------------------

struct route {  // -> said
  std::string cluster;
  asked what;
};
struct broadcast {  // -> told
  std::string cluster;
  message what;
  std::string uid;  // of who speaks
  std::uint64_t number = 0;
  std::uint8_t to = 0;  // an `audience`
};
struct whisper {  // -> told
  std::string cluster;
  std::string uid;
  message what;
};
struct announce {  // -> told
  std::string cluster;
  std::string shard;
  message what;
};
struct gossip {  // -> replies
  std::string cluster;
  std::string from;  // a shard that is not asked
  std::string text;
  std::int64_t limit = 0;  // nanoseconds
};
struct look {  // -> view
  std::uint8_t unused = 0;
};
struct close_clusters {  // -> nothing
  std::uint16_t code = 0;
  std::string reason;
};

struct departure {
  std::string cluster;
  std::string shard;
  std::uint64_t number = 0;  // of the guest
};
struct left {  // -> nothing; guests have gone
  std::vector<departure> all;
};

// --- questions to a host, who obeys the latest keeper -------------------------------------------

struct visit {  // -> said
  std::uint64_t fence = 0;
  std::string cluster;
  std::string shard;
  std::uint64_t shard_number = 0;
  std::uint64_t mark = 0;
  bool knows_host = false;  // the keeper has had its report; else what is there is nobody's
  guest who;
  asked what;
};
struct tell {  // -> told
  std::string cluster;
  std::string shard;
  message what;
  std::string uid;
  std::uint64_t number = 0;
  std::uint8_t to = 0;
};
struct whisper_at {  // -> told
  std::string cluster;
  std::string shard;
  std::string uid;
  message what;
};
struct gossip_at {  // -> reply
  std::string cluster;
  std::string shard;
  std::string text;
  std::int64_t limit = 0;
};
struct close_shard {  // -> nothing
  std::string cluster;
  std::string shard;
  std::uint16_t code = 0;
  std::string reason;
};
struct retire {  // -> nothing
  std::uint64_t fence = 0;
  std::string cluster;
  std::string shard;
  std::uint64_t mark = 0;
};
struct disown {  // -> nothing; the keeper has not had the report
  std::uint64_t fence = 0;
};
struct report {  // -> host_report
  std::uint64_t fence = 0;
};

using question =
    std::variant<route, broadcast, whisper, announce, gossip, look, close_clusters, left, visit,
                 tell, whisper_at, gossip_at, close_shard, retire, report, disown>;

// --- words --------------------------------------------------------------------------------------

/// To a host: nobody knows of this session.
struct dropped {
  std::uint64_t session = 0;
};
/// Between a host and who has the client's connection, in order.
struct frame {
  enum kind_of : std::uint8_t { attach, text, binary, ack, close, lost };

  std::uint64_t session = 0;
  bool to_host = false;
  std::uint32_t place = 0;  // among the messages in this direction
  std::uint8_t kind = attach;
  std::uint64_t number = 0;  // ack: bytes that have been read; close: the code
  shared_bytes payload;      // close: the reason
};
/// How far one end has come, so that what was lost on the way is noticed.
struct pulse {
  std::uint64_t session = 0;
  bool to_host = false;
  std::uint32_t sent = 0;  // messages
  std::uint64_t read = 0;  // bytes
};
struct beat {
  std::vector<pulse> all;
};

using word = std::variant<dropped, frame, beat>;

// --- to and from what the rest of the gateway uses ----------------------------------------------

template <class T>
shared_bytes packed(const T& value) {
  return shared_bytes(encode(value));
}
template <class T>
T unpacked(const shared_bytes& bytes) {
  return decode<T>(bytes).value();
}

inline std::vector<field> fields_of(const headers& all) {
  std::vector<field> copied;
  copied.reserve(all.size());
  for (const auto& f : all) copied.push_back({f.name, f.value});
  return copied;
}
inline headers headers_of(std::vector<field>&& all) {
  headers made;
  for (field& f : all) made.add(std::move(f.name), std::move(f.value));
  return made;
}

inline asked of(request&& r) {
  return {std::move(r.method), std::move(r.target), fields_of(r.fields), std::move(r.body),
          std::move(r.peer)};
}
inline request to_request(asked&& a) {
  request r(std::move(a.method), std::move(a.target), std::move(a.body));
  r.fields = headers_of(std::move(a.fields));
  r.peer = std::move(a.peer);
  return r;
}

/// Without its session.
inline said of(const response& r) { return {r.status, fields_of(r.fields), r.body, 0, {}}; }
inline response to_response(said&& s) {
  response r(s.status, std::move(s.body));
  r.fields = headers_of(std::move(s.fields));
  return r;
}

inline message of(const socket_message& m) { return {m.payload(), m.is_binary()}; }
inline socket_message to_message(message&& m) {
  return m.is_binary ? socket_message::binary(std::move(m.payload))
                     : socket_message(std::move(m.payload));
}

inline std::int32_t code_of(const std::error_code& why) noexcept {
  return why.category() == error_category() ? why.value()
                                            : static_cast<std::int32_t>(errc::connection_lost);
}

inline told of(const delivery& d) {
  told made{d.sockets, d.dropped, d.shards, {}};
  for (const auto& f : d.failures) made.failures.push_back({f.shard, code_of(f.why)});
  return made;
}
inline delivery to_delivery(told&& t) {
  delivery made;
  made.sockets = static_cast<std::size_t>(t.sockets);
  made.dropped = static_cast<std::size_t>(t.dropped);
  made.shards = static_cast<std::size_t>(t.shards);
  for (failure& f : t.failures) {
    made.failures.push_back({std::move(f.shard), make_error_code(static_cast<errc>(f.code))});
  }
  return made;
}

inline reply of(const gossip_reply& r) {
  if (r.answer.has_value()) return {r.shard, r.answer.value(), 0};
  std::string text;
  try {
    std::rethrow_exception(r.answer.error());
  } catch (const error& e) {
    text = e.detail();
  } catch (const std::exception& e) {
    text = e.what();
  } catch (...) {
    text = "an exception of no known type";
  }
  const std::error_code why = r.answer.code();
  const bool is_ours = why.category() == error_category();
  return {r.shard, std::move(text), is_ours ? why.value() : other_exception};
}
inline gossip_reply to_reply(reply&& r) {
  if (r.code == 0)
    return gossip_reply(std::move(r.shard), result<std::string>(std::in_place, std::move(r.text)));
  const std::exception_ptr why =
      r.code == other_exception
          ? std::make_exception_ptr(std::runtime_error(r.text))
          : std::make_exception_ptr(error(static_cast<errc>(r.code), {}, r.text));
  return gossip_reply(std::move(r.shard), result<std::string>(why));
}

}  // namespace troupe::detail::wire
