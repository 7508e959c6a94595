// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `redis_connection`: one connection to a server, made again whenever it is lost.
///
/// Layer: adapter. A state machine that the link's thread moves on: it never waits, and has no
/// lock.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <hiredis/hiredis.h>

#include <troupe/adapter/redis/redis_greeting.hpp>
#include <troupe/adapter/redis/redis_options.hpp>
#include <troupe/adapter/redis/redis_output.hpp>
#include <troupe/adapter/redis/redis_reply.hpp>
#include <troupe/adapter/redis/redis_socket.hpp>
#include <troupe/adapter/redis/redis_tls.hpp>
#include <troupe/base/error.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/time/backoff.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// Thread safety: none; it is the link's thread's own.
class redis_connection {
public:
  /// Who uses it. Called by its members.
  class user {
  public:
    virtual void opened() = 0;
    virtual void heard(redis_reply r) = 0;
    /// It was lost, or could not be made.
    virtual void lost(const redis_problem& why) = 0;

  protected:
    user() = default;
    user(const user&) = default;
    user& operator=(const user&) = default;
    ~user() = default;
  };

  /// What is given here outlives it. `tls`: nullptr, where nothing is encrypted.
  redis_connection(const redis_options& options, const redis_tls* tls, redis_purpose purpose,
                   executor& on, user& of)
      : options_(options),
        tls_(tls),
        purpose_(purpose),
        on_(on),
        user_(of),
        greeting_(options, purpose),
        waits_(options.reconnect),
        buffer_(new char[buffer_size]) {}
  redis_connection(const redis_connection&) = delete;
  redis_connection& operator=(const redis_connection&) = delete;

  [[nodiscard]] bool is_open() const noexcept { return state_ == state::open; }
  /// What is to be written once it is open. Of no use before.
  [[nodiscard]] redis_output& output() noexcept { return output_; }
  /// When the last byte has come, or gone.
  [[nodiscard]] time_point moved_at() const noexcept { return moved_at_; }
  /// Why it is not open.
  [[nodiscard]] const redis_problem& problem() const noexcept {
    return problem_.text.empty() ? attempt_ : problem_;
  }

  /// Does what is due: begins to connect, or gives up.
  inline void step(time_point now);
  /// When that is to be done next.
  [[nodiscard]] inline time_point next_step() const noexcept;

  /// What `poll` is to look at; descriptor -1: nothing.
  [[nodiscard]] inline pollfd interest() const noexcept;
  /// True where `poll` would not see what there is to read.
  [[nodiscard]] bool has_more() const noexcept { return has_more_; }
  /// Goes on with what `poll` has seen.
  inline void go_on(short happened, time_point now);
  /// Writes as much as goes.
  inline void flush(time_point now);

  /// Ends it; it is made again.
  inline void lose(redis_problem why, time_point now);
  /// Ends it for good.
  void close() noexcept {
    stream_.say_goodbye();
    stream_ = redis_stream();
    state_ = state::closed;
  }

private:
  enum class state : std::uint8_t { resting, connecting, shaking, greeting, open, closed };
  static constexpr std::size_t buffer_size = 64 * 1024;
  static constexpr int reads_in_a_row = 16;
  static constexpr duration short_rest = std::chrono::milliseconds(100);
  static constexpr duration long_life = std::chrono::seconds(1);

  struct free_reader {
    void operator()(::redisReader* r) const noexcept { ::redisReaderFree(r); }
  };

  void connect(time_point now);
  void try_address(time_point now);
  void connected(time_point now);
  void shake(time_point now);
  void greet();
  void read(time_point now);
  bool feed(std::size_t size, time_point now);
  void hear(redis_reply r, time_point now);
  void late(time_point now);
  void beat(time_point now);
  void ended(const redis_io& how, time_point now);
  void not_redis(time_point now);

  const redis_options& options_;
  const redis_tls* const tls_;
  const redis_purpose purpose_;
  executor& on_;  // for its random numbers
  user& user_;
  redis_greeting greeting_;
  backoff waits_;
  const std::unique_ptr<char[]> buffer_;

  state state_ = state::resting;
  time_point until_{};  // of the rest, or of what is done to connect
  time_point attempt_end_{};
  std::vector<redis_address> addresses_;
  std::size_t next_address_ = 0;
  redis_stream stream_;
  std::unique_ptr<::redisReader, free_reader> reader_;
  redis_output output_;
  redis_problem attempt_{errc::connection_lost, "there was no time to connect"};  // as it stands
  redis_problem problem_;    // of the last attempt; no text: there was none since it was open
  std::string first_words_;  // of a server that may be none
  time_point opened_at_{};
  time_point moved_at_{};
  bool was_open_ = false;  // ever
  bool pinged_ = false;    // and nothing has come since
  bool has_more_ = false;
  bool read_needs_room_ = false;   // TLS has to write before it can read
  bool write_needs_data_ = false;  // and the other way round
};

// --- making it ----------------------------------------------------------------------------------

inline void redis_connection::step(time_point now) {
  switch (state_) {
    case state::resting:
      if (now >= until_) connect(now);
      break;
    case state::open:
      if (purpose_ == redis_purpose::channels) beat(now);
      break;
    case state::closed:
      break;
    default:
      if (now >= until_) late(now);
  }
}

inline time_point redis_connection::next_step() const noexcept {
  switch (state_) {
    case state::open:
      if (purpose_ == redis_purpose::commands) return never;
      return saturating_add(moved_at_, options_.command_limit);
    case state::closed:
      return never;
    default:
      return until_;
  }
}

inline void redis_connection::connect(time_point now) {
  first_words_.clear();
  addresses_.clear();
  next_address_ = 0;
  attempt_end_ = saturating_add(now, options_.connect_limit);
  try {
    addresses_ = redis_resolve(options_.host, options_.port);
  } catch (const std::runtime_error& e) {
    return lose({errc::connection_lost, e.what()}, now);
  }
  try_address(now);
}

/// The next one; there are mostly two of "localhost".
inline void redis_connection::try_address(time_point now) {
  while (next_address_ != addresses_.size()) {
    try {
      stream_ = redis_stream(redis_socket(addresses_[next_address_++]));
      state_ = state::connecting;
      const auto rest = static_cast<duration::rep>(addresses_.size() - next_address_ + 1);
      until_ = (std::min)(attempt_end_, now + (attempt_end_ - now) / rest);
      attempt_ = {errc::connection_lost, options_.url() + " does not answer"};
      return;
    } catch (const std::system_error& e) {
      attempt_ = {errc::connection_lost, options_.url() + ": " + e.code().message()};
    }
  }
  lose(attempt_, now);
}

inline void redis_connection::connected(time_point now) {
  const int failed = stream_.socket().connect_error();
  if (failed != 0) {
    attempt_ = {errc::connection_lost, options_.url() + ": " + redis_system_text(failed)};
    return try_address(now);
  }
  until_ = attempt_end_;
  attempt_ = {errc::timed_out,
              options_.url() + " takes connections, but does not say anything: is it Redis?"};
  if (tls_ == nullptr) return greet();
  attempt_.text = options_.url() + " takes connections, but does not answer in TLS";
  stream_.begin_tls(*tls_);
  state_ = state::shaking;
  shake(now);
}

inline void redis_connection::shake(time_point now) {
  const redis_io done = stream_.shake();
  if (done.outcome == redis_io::moved) {
    attempt_.text = options_.url() + " does not say anything but TLS: is it Redis?";
    return greet();
  }
  read_needs_room_ = done.outcome == redis_io::wants_write;
  if (done.outcome == redis_io::failed) {
    return lose({errc::refused, options_.url() + ": " + done.why, true}, now);
  }
  if (done.outcome == redis_io::ended) ended(done, now);
}

inline void redis_connection::greet() {
  read_needs_room_ = false;
  reader_.reset(::redisReaderCreate());
  if (!reader_) throw std::bad_alloc();
  reader_->maxbuf = std::size_t{1} << 20;  // less is kept for what comes next
  state_ = state::greeting;
  output_.clear();
  greeting_.begin(output_);
}

// --- reading and writing ------------------------------------------------------------------------

inline pollfd redis_connection::interest() const noexcept {
  pollfd p{-1, 0, 0};
  if (!stream_) return p;
  p.fd = stream_.socket().get();
  if (state_ == state::connecting) {
    p.events = POLLOUT;
    return p;
  }
  p.events = POLLIN;
  if (read_needs_room_ || (!output_.empty() && !write_needs_data_)) p.events |= POLLOUT;
  return p;
}

inline void redis_connection::go_on(short happened, time_point now) {
  if (happened == 0 && !has_more_) return;
  switch (state_) {
    case state::connecting:
      connected(now);
      break;
    case state::shaking:
      shake(now);
      break;
    default:
      read(now);
  }
  flush(now);
}

inline void redis_connection::flush(time_point now) {
  while (state_ >= state::greeting && stream_ && !output_.empty()) {
    std::string_view parts[redis_socket::most_parts];
    const std::size_t count = output_.look(parts, redis_socket::most_parts);
    const redis_io done = stream_.write(parts, count);
    write_needs_data_ = done.outcome == redis_io::wants_read;
    if (done.outcome == redis_io::wants_read || done.outcome == redis_io::wants_write) return;
    if (done.outcome != redis_io::moved) return ended(done, now);
    output_.written(done.size);
    moved_at_ = now;
  }
}

inline void redis_connection::read(time_point now) {
  has_more_ = false;
  for (int i = 0; i != reads_in_a_row; ++i) {
    if (!stream_) return;
    const redis_io done = stream_.read(buffer_.get(), buffer_size);
    read_needs_room_ = done.outcome == redis_io::wants_write;
    if (done.outcome == redis_io::wants_read || done.outcome == redis_io::wants_write) return;
    if (done.outcome != redis_io::moved) return ended(done, now);
    moved_at_ = now;
    pinged_ = false;
    if (!feed(done.size, now)) return;
  }
  has_more_ = true;
}

/// Hands out the answers that are whole. False: the connection was lost meanwhile.
inline bool redis_connection::feed(std::size_t size, time_point now) {
  if (state_ == state::greeting && first_words_.size() < 64) {
    first_words_.append(buffer_.get(), (std::min)(size, std::size_t{64}));
  }
  ::redisReader* const reader = reader_.get();
  if (::redisReaderFeed(reader, buffer_.get(), size) != REDIS_OK) {
    not_redis(now);
    return false;
  }
  for (;;) {
    void* made = nullptr;
    if (::redisReaderGetReply(reader, &made) != REDIS_OK) {
      not_redis(now);
      return false;
    }
    if (made == nullptr) return true;
    hear(redis_reply(static_cast<::redisReply*>(made)), now);
    if (reader_.get() != reader) return false;
  }
}

inline void redis_connection::hear(redis_reply r, time_point now) {
  if (state_ == state::open) return user_.heard(std::move(r));
  std::optional<redis_problem> wrong;
  try {
    if (!greeting_.hear(r, output_)) return;
  } catch (redis_problem& p) {
    wrong = std::move(p);
  } catch (const error& e) {  // it has answered something else than it was asked
    wrong = redis_problem{errc::refused, options_.url() + " is no Redis server: " + e.what(), true};
  }
  if (wrong) return lose(std::move(*wrong), now);
  state_ = state::open;
  opened_at_ = moved_at_ = now;
  was_open_ = true;
  pinged_ = false;
  problem_ = {};
  user_.opened();
}

// --- losing it ----------------------------------------------------------------------------------

inline void redis_connection::lose(redis_problem why, time_point now) {
  if (state_ == state::closed) return;
  if (state_ == state::open && now - opened_at_ >= long_life) waits_.reset();
  const duration rest = waits_.next(on_.random());
  until_ = saturating_add(now, why.is_short ? short_rest : rest);
  state_ = state::resting;
  stream_ = redis_stream();
  reader_.reset();
  output_.clear();
  has_more_ = read_needs_room_ = write_needs_data_ = false;
  problem_ = std::move(why);
  user_.lost(problem_);
}

/// The time to connect is over.
inline void redis_connection::late(time_point now) {
  if (state_ == state::connecting && next_address_ != addresses_.size()) return try_address(now);
  redis_problem p = attempt_;
  p.is_final = state_ != state::connecting && !was_open_;
  lose(std::move(p), now);
}

/// Nothing has come on the channels for a while, which may be right: so it is asked.
inline void redis_connection::beat(time_point now) {
  if (now < saturating_add(moved_at_, options_.command_limit)) return;
  if (pinged_) return lose({errc::timed_out, options_.url() + " is silent"}, now);
  output_.add(redis_command("PING"));
  flush(now);
  moved_at_ = now;
  pinged_ = true;
}

inline void redis_connection::ended(const redis_io& how, time_point now) {
  const bool was_there = state_ == state::open || was_open_;
  std::string text = options_.url();
  if (how.outcome == redis_io::failed) {
    text += ": " + how.why;
  } else if (was_there) {
    text += " has closed the connection";
  } else {
    text += " closes connections without saying anything: is it Redis?";
  }
  lose({errc::connection_lost, std::move(text), !was_there}, now);
}

inline void redis_connection::not_redis(time_point now) {
  if (state_ == state::open) {
    return lose({errc::connection_lost, options_.url() + " has sent what is no answer: " +
                                            static_cast<const char*>(reader_->errstr)},
                now);
  }
  std::string shown;
  for (const char c : first_words_) {
    if (c == '\r' || c == '\n') break;
    shown += c >= ' ' && c <= '~' ? c : '?';
  }
  lose({errc::refused, options_.url() + " is no Redis server: it says '" + shown + "'", true}, now);
}

}  // namespace troupe::detail
