// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `web_files`: answers requests by the files of a directory.
///
/// Layer: adapter. POSIX. What may block (opening, reading) is done by `offload`.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <troupe/adapter/web/http_date.hpp>
#include <troupe/adapter/web/web_answer.hpp>
#include <troupe/base/error.hpp>
#include <troupe/base/scope_exit.hpp>
#include <troupe/base/shared_bytes.hpp>
#include <troupe/coro/async_semaphore.hpp>
#include <troupe/coro/offload.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/gateway/request.hpp>
#include <troupe/gateway/response.hpp>
#include <troupe/gateway/url.hpp>

namespace troupe {

/// How the files of a directory are shown.
struct web_file_options {
  std::string index = "index.html";        ///< What stands for a directory; empty: nothing does.
  std::string cache_control = "no-cache";  ///< Of all files. This one: ask whether it has changed.
  bool hidden = false;                     ///< True: also what begins with a dot, but `.` and `..`.
  /// Types beside those that are known: `{"wasm", "application/wasm"}`.
  std::vector<std::pair<std::string, std::string>> types{};
};

namespace detail {

/// A descriptor and whoever closes it.
class open_file {
public:
  open_file() = default;
  explicit open_file(int fd) noexcept : fd_(fd) {}
  open_file(open_file&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  open_file& operator=(open_file&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~open_file() {
    if (fd_ >= 0) ::close(fd_);
  }

  explicit operator bool() const noexcept { return fd_ >= 0; }
  int get() const noexcept { return fd_; }

private:
  int fd_ = -1;
};

/// At most `size` bytes from `offset` on: fewer only if the file has no more. Throws
/// `std::system_error`.
inline std::string read_piece(int fd, std::uint64_t offset, std::size_t size) {
  std::string piece(size, '\0');
  std::size_t got = 0;
  while (got != size) {
    const auto n = ::pread(fd, piece.data() + got, size - got, static_cast<::off_t>(offset + got));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw std::system_error(errno, std::generic_category(), "reading a file");
    if (n == 0) break;
    got += static_cast<std::size_t>(n);
  }
  piece.resize(got);
  return piece;
}

/// How much of a file is in memory for a connection.
inline constexpr std::size_t file_piece_size = std::size_t{64} << 10;

/// A part of a file, piece by piece.
class file_body final : public web_body {
public:
  file_body(open_file file, std::uint64_t offset, std::uint64_t size,
            std::shared_ptr<async_semaphore> readers) noexcept
      : file_(std::move(file)),
        offset_(offset),
        size_(size),
        left_(size),
        readers_(std::move(readers)) {}

  std::uint64_t size() const noexcept override { return size_; }

  task<shared_bytes> next() override {
    const auto wanted = static_cast<std::size_t>((std::min<std::uint64_t>)(left_, file_piece_size));
    co_await readers_->acquire();
    const scope_exit done([this]() noexcept { readers_->release(); });
    const auto work = [this, wanted] { return read_piece(file_.get(), offset_, wanted); };
    std::string piece = co_await offload(work);
    if (piece.size() != wanted) throw error(errc::result_lost, {}, "the file became shorter");
    offset_ += wanted;
    left_ -= wanted;
    co_return shared_bytes(std::move(piece));
  }

private:
  open_file file_;
  std::uint64_t offset_;
  const std::uint64_t size_;
  std::uint64_t left_;
  std::shared_ptr<async_semaphore> readers_;
};

/// A part of a body, as `Range` asks for it.
struct byte_range {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;  // behind the last
};

enum class range_verdict { none, one, unsatisfiable };

/// What `Range` says of a body of `size` bytes. Several ranges, and what is none, are as good as no
/// `Range` (RFC 9110, 14.2).
inline range_verdict parse_range(std::string_view text, std::uint64_t size, byte_range& found) {
  constexpr std::string_view unit = "bytes=";
  if (!text.starts_with(unit)) return range_verdict::none;
  text.remove_prefix(unit.size());
  const std::size_t dash = text.find('-');
  if (dash == std::string_view::npos) return range_verdict::none;
  const auto number = [](std::string_view digits, std::uint64_t& n) {
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), n);
    return parsed.ec == std::errc() && parsed.ptr == digits.data() + digits.size();
  };
  const std::string_view first = text.substr(0, dash);
  const std::string_view last = text.substr(dash + 1);
  std::uint64_t from = 0;
  std::uint64_t to = 0;
  if (first.empty()) {  // the last so many
    if (!number(last, to)) return range_verdict::none;
    if (to == 0 || size == 0) return range_verdict::unsatisfiable;
    found = {size - (std::min)(to, size), size};
    return range_verdict::one;
  }
  if (!number(first, from)) return range_verdict::none;
  if (last.empty()) {
    to = size;
  } else {
    if (!number(last, to) || to < from) return range_verdict::none;
    to = to < size ? to + 1 : size;
  }
  if (from >= size) return range_verdict::unsatisfiable;
  found = {from, to};
  return range_verdict::one;
}

/// True if `list`, of `If-None-Match`, has this tag (RFC 9110, 13.1.2: compared weakly).
inline bool lists_tag(std::string_view list, std::string_view tag) {
  for (;;) {
    const std::size_t comma = list.find(',');
    std::string_view one = trimmed(list.substr(0, comma));
    if (one == "*") return true;
    if (one.starts_with("W/")) one.remove_prefix(2);
    if (one == tag) return true;
    if (comma == std::string_view::npos) return false;
    list.remove_prefix(comma + 1);
  }
}

inline std::string_view known_content_type(std::string_view extension) noexcept {
  struct pair {
    std::string_view extension;
    std::string_view type;
  };
  static constexpr pair all[] = {
      {"html", "text/html; charset=utf-8"},
      {"htm", "text/html; charset=utf-8"},
      {"css", "text/css; charset=utf-8"},
      {"js", "text/javascript; charset=utf-8"},
      {"mjs", "text/javascript; charset=utf-8"},
      {"json", "application/json"},
      {"map", "application/json"},
      {"txt", "text/plain; charset=utf-8"},
      {"md", "text/markdown; charset=utf-8"},
      {"csv", "text/csv; charset=utf-8"},
      {"xml", "application/xml"},
      {"svg", "image/svg+xml"},
      {"png", "image/png"},
      {"jpg", "image/jpeg"},
      {"jpeg", "image/jpeg"},
      {"gif", "image/gif"},
      {"webp", "image/webp"},
      {"avif", "image/avif"},
      {"ico", "image/x-icon"},
      {"woff", "font/woff"},
      {"woff2", "font/woff2"},
      {"ttf", "font/ttf"},
      {"wasm", "application/wasm"},
      {"pdf", "application/pdf"},
      {"mp3", "audio/mpeg"},
      {"mp4", "video/mp4"},
      {"webm", "video/webm"},
      {"zip", "application/zip"},
      {"gz", "application/gzip"},
  };
  for (const pair& one : all) {
    if (equal_ignoring_case(one.extension, extension)) return one.type;
  }
  return "application/octet-stream";
}

}  // namespace detail

/// Answers `GET` and `HEAD` by what is below a directory, and by nothing else: each part of a path
/// is opened within the one before it, and symbolic links are not followed. Regular files only; a
/// directory is its `index`, and is never listed.
///
/// Thread safety: all members from any thread.
class web_files {
public:
  /// Throws `std::system_error` where the directory cannot be opened. It is this one for good,
  /// whatever becomes of the path.
  explicit web_files(const std::string& directory, web_file_options options = {})
      : root_(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)),
        options_(std::move(options)) {
    if (!root_) throw std::system_error(errno, std::generic_category(), "web_files: " + directory);
  }

  /// `below`: the path from the directory on, as it was sent: `css/page.css`.
  [[nodiscard]] task<web_answer> answer(request asked, std::string below) const {
    std::vector<std::string> parts;
    if (!split(below, parts)) co_return text_response(404, "not found");
    const auto readers = readers_;
    co_await readers->acquire();
    const scope_exit done([&readers]() noexcept { readers->release(); });
    const auto work = [this, &asked, &below, &parts] { return look(asked, below, parts); };
    co_return co_await offload(work);
  }

private:
  /// Blocks, as all below.
  web_answer look(const request& asked, std::string_view below,
                  const std::vector<std::string>& parts) const {
    struct ::stat seen{};
    detail::open_file file = open(parts, seen);
    const bool names_directory = below.empty() || below.ends_with('/');
    std::string name = parts.empty() ? std::string() : parts.back();
    if (file && S_ISDIR(seen.st_mode)) {
      if (!names_directory || !asked.path().ends_with('/')) return moved(asked);
      if (options_.index.empty()) return text_response(404, "not found");
      name = options_.index;
      file = open_at(file.get(), name, seen);
    } else if (names_directory) {
      file = detail::open_file();
    }
    if (!file || !S_ISREG(seen.st_mode)) return text_response(404, "not found");
    return show(asked, name, std::move(file), seen);
  }

  /// To the same with a slash: what is named in a page of a directory is found from there.
  static web_answer moved(const request& asked) {
    response made = text_response(301, "it is a directory");
    std::string to = std::string(asked.path()) + "/";
    if (!asked.query().empty()) to += "?" + std::string(asked.query());
    made.fields.set("Location", std::move(to));
    return made;
  }

  /// Each part decoded. False: there can be no such file.
  bool split(std::string_view below, std::vector<std::string>& parts) const {
    while (!below.empty()) {
      const std::size_t end = below.find('/');
      std::string part = percent_decode(below.substr(0, end));
      below.remove_prefix(end == std::string_view::npos ? below.size() : end + 1);
      const bool is_hidden = part.starts_with('.') && !options_.hidden;
      if (part.empty() || part == "." || part == ".." || is_hidden) return false;
      if (part.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos) return false;
      parts.push_back(std::move(part));
    }
    return true;
  }

  /// Never blocks on what is no file, and follows no link.
  static detail::open_file open_at(int directory, const std::string& name, struct ::stat& seen) {
    detail::open_file file(::openat(directory, name.c_str(),
                                    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    if (!file && !means_absent(errno)) throw http_error(503, "try again later");
    if (file && ::fstat(file.get(), &seen) != 0) throw http_error(503, "try again later");
    return file;
  }
  /// Or else the machine is short of something.
  static bool means_absent(int code) noexcept {
    return code == ENOENT || code == ENOTDIR || code == ELOOP || code == EACCES ||
           code == ENAMETOOLONG || code == ENXIO || code == EPERM || code == EMLINK;
  }
  detail::open_file open(const std::vector<std::string>& parts, struct ::stat& seen) const {
    detail::open_file here = open_at(root_.get(), ".", seen);
    for (const std::string& part : parts) {
      if (!here || !S_ISDIR(seen.st_mode)) return {};
      here = open_at(here.get(), part, seen);
    }
    return here;
  }

  std::string content_type(std::string_view name) const {
    const std::size_t dot = name.rfind('.');
    const std::string_view extension =
        dot == std::string_view::npos ? std::string_view() : name.substr(dot + 1);
    for (const auto& [own, type] : options_.types) {
      if (detail::equal_ignoring_case(own, extension)) return type;
    }
    return std::string(detail::known_content_type(extension));
  }

  /// Another file, or a file with other bytes, has another one.
  static std::string tag_of(const struct ::stat& seen) {
    char text[64] = {};
    char* to = text;
    *to++ = '"';
    for (const std::uint64_t part :
         {static_cast<std::uint64_t>(seen.st_ino), static_cast<std::uint64_t>(seen.st_size),
          static_cast<std::uint64_t>(seen.st_mtim.tv_sec),
          static_cast<std::uint64_t>(seen.st_mtim.tv_nsec)}) {
      if (to != text + 1) *to++ = '-';
      to = std::to_chars(to, text + sizeof text, part, 16).ptr;
    }
    return std::string(text, to) + '"';
  }

  /// RFC 9110, 13.2.2, as far as it goes for GET.
  static bool is_unchanged(const request& asked, std::string_view tag, std::int64_t changed) {
    if (asked.fields.contains("If-None-Match")) {
      return detail::lists_tag(asked.fields.get("If-None-Match"), tag);
    }
    const auto since = detail::from_http_date(asked.fields.get("If-Modified-Since"));
    return since && changed <= *since;
  }
  /// What was asked for is no more; of a strong tag, and of a time.
  static bool has_changed(const request& asked, std::string_view tag, std::int64_t changed) {
    if (asked.fields.contains("If-Match")) {
      const std::string_view wanted = asked.fields.get("If-Match");
      return wanted != "*" && !detail::lists_tag(wanted, tag);
    }
    const auto since = detail::from_http_date(asked.fields.get("If-Unmodified-Since"));
    return since && changed > *since;
  }
  static bool wants_range(const request& asked, std::string_view tag, std::string_view changed) {
    if (asked.method != "GET" || !asked.fields.contains("Range")) return false;
    const std::string_view same = asked.fields.get("If-Range");
    return same.empty() || same == tag || same == changed;
  }

  web_answer show(const request& asked, std::string_view name, detail::open_file file,
                  const struct ::stat& seen) const {
    const auto size = static_cast<std::uint64_t>(seen.st_size);
    const std::string tag = tag_of(seen);
    const std::string changed = detail::to_http_date(seen.st_mtim.tv_sec);
    response made(200);
    made.fields.set("ETag", tag);
    made.fields.set("Last-Modified", changed);
    made.fields.set("Cache-Control", options_.cache_control);
    if (has_changed(asked, tag, seen.st_mtim.tv_sec)) return text_response(412, "it has changed");
    if (is_unchanged(asked, tag, seen.st_mtim.tv_sec)) {
      made.status = 304;
      return made;
    }
    made.fields.set("Accept-Ranges", "bytes");
    detail::byte_range part{0, size};
    if (wants_range(asked, tag, changed)) {
      const auto verdict = detail::parse_range(asked.fields.get("Range"), size, part);
      if (verdict == detail::range_verdict::unsatisfiable) {
        response none = text_response(416, "it is not so long");
        none.fields.set("Content-Range", "bytes */" + std::to_string(size));
        return none;
      }
      if (verdict == detail::range_verdict::one) {
        made.status = 206;
        made.fields.set("Content-Range", "bytes " + std::to_string(part.begin) + "-" +
                                             std::to_string(part.end - 1) + "/" +
                                             std::to_string(size));
      }
    }
    made.fields.set("Content-Type", content_type(name));
    made.fields.set("X-Content-Type-Options", "nosniff");
    return with_body(std::move(made), asked, std::move(file), part);
  }

  /// What is no longer than a piece is read here.
  web_answer with_body(response made, const request& asked, detail::open_file file,
                       detail::byte_range part) const {
    const std::uint64_t size = part.end - part.begin;
    if (asked.method == "HEAD" || size > detail::file_piece_size) {
      return web_answer(std::move(made), std::make_shared<detail::file_body>(
                                             std::move(file), part.begin, size, readers_));
    }
    made.body = detail::read_piece(file.get(), part.begin, static_cast<std::size_t>(size));
    if (made.body.size() == size) return made;
    return text_response(503, "the file is being changed");
  }

  // Threads that read at the same time: others wait their turn.
  static constexpr std::size_t most_readers = 16;

  const detail::open_file root_;
  const web_file_options options_;
  const std::shared_ptr<async_semaphore> readers_ = std::make_shared<async_semaphore>(most_readers);
};

}  // namespace troupe
