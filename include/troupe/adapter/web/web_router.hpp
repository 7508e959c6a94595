// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `web_router`: which handler answers which request.
///
/// Layer: adapter.

#include <algorithm>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <troupe/actor/method_traits.hpp>
#include <troupe/adapter/web/web_answer.hpp>
#include <troupe/adapter/web/web_files.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/gateway/gateway.hpp>
#include <troupe/gateway/request.hpp>
#include <troupe/gateway/response.hpp>
#include <troupe/gateway/url.hpp>

namespace troupe {

/// Handlers by method and path; the first that fits answers. A path is written as
/// `/rooms/:name/*`: `:name` stands for one part that is not empty, and `*`, at the end, for all
/// that follows. A handler is called with the request and, if it takes them, with the decoded
/// parts, as a `std::vector<std::string>`; it returns a `response` (or a `web_answer`) or a task of
/// one. What it throws is answered as `response_to` says.
///
/// Thread safety: once a server has it, it is not changed; handlers are called by many threads at
/// once.
class web_router {
public:
  using parts = std::vector<std::string>;
  // What it is given lives as long as its task.
  using handler = std::function<task<web_answer>(request&, parts&)>;

  /// Answers requests of one method (empty: of any) to a path.
  template <class F>
  web_router& on(std::string method, std::string path, F f) {
    rules_.push_back({std::move(method), split(path), handler_of(std::move(f)), {}});
    return *this;
  }
  template <class F>
  web_router& get(std::string path, F f) {
    return on("GET", std::move(path), std::move(f));
  }
  template <class F>
  web_router& post(std::string path, F f) {
    return on("POST", std::move(path), std::move(f));
  }

  /// Gives requests to a gateway, which outlives the server; the first part of the path that varies
  /// is the name of the cluster, or else that is empty.
  template <class G, class S>
  web_router& to(std::string path, gateway<G, S>& rooms) {
    closers_.push_back([&rooms] { rooms.close(close_info(close_code::going_away)); });
    return on({}, std::move(path), [&rooms](request asked, parts varying) {
      return rooms.receive(varying.empty() ? std::string() : std::move(varying.front()),
                           std::move(asked));
    });
  }

  /// Answers `GET` and `HEAD` by the files of a directory: `/static` is that, `/static/a.css` a
  /// file in it. Throws `std::system_error` where there is no such directory; see `web_files`.
  web_router& files(std::string path, const std::string& directory, web_file_options options = {}) {
    while (path.ends_with('/')) path.pop_back();
    rules_.push_back({"GET",
                      split(path + "/*"),
                      {},
                      std::make_shared<const web_files>(directory, std::move(options))});
    return *this;
  }

  /// Answers by the handler that fits: 404 where there is none, 405 where there is one for another
  /// method. Does not throw.
  [[nodiscard]] task<web_answer> answer(request asked) const {
    std::vector<std::string_view> allowed;
    for (const rule& r : rules_) {
      parts varying;
      if (!fits(r.path, asked.path(), varying)) continue;
      if (!r.method.empty() && r.method != asked.method &&
          !(r.method == "GET" && asked.method == "HEAD")) {
        allow(allowed, r.method);
        continue;
      }
      if (r.directory) return from_files(r, std::move(asked));
      return guarded(r.answer, std::move(asked), std::move(varying));
    }
    return refused(allowed);
  }

  /// Closes the WebSockets of all gateways. For the server.
  void close_sockets() const {
    for (const auto& close : closers_) close();
  }

private:
  struct rule {
    std::string method;
    std::vector<std::string> path;
    handler answer;
    std::shared_ptr<const web_files> directory;  // answers in its place
  };

  static std::vector<std::string> split(std::string_view path) {
    std::vector<std::string> all;
    while (!path.empty()) {
      path.remove_prefix(1);  // the slash
      const std::size_t end = path.find('/');
      all.emplace_back(path.substr(0, end));
      path.remove_prefix(end == std::string_view::npos ? path.size() : end);
    }
    return all;
  }

  static bool fits(const std::vector<std::string>& pattern, std::string_view path, parts& varying) {
    if (!path.starts_with('/')) return false;
    for (const std::string& part : pattern) {
      if (part == "*") {
        varying.push_back(percent_decode(path.empty() ? path : path.substr(1)));
        return true;
      }
      if (path.empty()) return false;
      path.remove_prefix(1);
      const std::string_view here = path.substr(0, path.find('/'));
      path.remove_prefix(here.size());
      if (part.starts_with(':')) {
        if (here.empty()) return false;
        varying.push_back(percent_decode(here));
      } else if (percent_decode(here) != part) {
        return false;
      }
    }
    return path.empty();
  }

  template <class F>
  static handler handler_of(F f) {
    return [f = std::move(f)](request& asked, parts& varying) -> task<web_answer> {
      if constexpr (std::is_invocable_v<const F&, request, parts>) {
        return as_task(f(std::move(asked), std::move(varying)));
      } else {
        static_assert(std::is_invocable_v<const F&, request>,
                      "troupe: a handler is called with a troupe::request and, if it likes, a "
                      "troupe::web_router::parts");
        return as_task(f(std::move(asked)));
      }
    };
  }
  static task<web_answer> as_task(task<web_answer> t) { return t; }
  static task<web_answer> as_task(task<response> t) { co_return co_await std::move(t); }
  static task<web_answer> as_task(web_answer a) { co_return a; }

  static task<web_answer> guarded(const handler& h, request asked, parts varying) {
    try {
      co_return co_await h(asked, varying);
    } catch (...) {
      co_return response_to(std::current_exception());
    }
  }

  /// What stands for the `*` is taken as it was sent: a slash that is encoded is no slash.
  static task<web_answer> from_files(const rule& r, request asked) {
    try {
      std::string_view below = asked.path();
      for (std::size_t i = 1; i < r.path.size(); ++i) {
        below.remove_prefix(1);
        below.remove_prefix((std::min)(below.find('/'), below.size()));
      }
      std::string rest(below.substr((std::min)(below.size(), std::size_t{1})));
      co_return co_await r.directory->answer(std::move(asked), std::move(rest));
    } catch (...) {
      co_return response_to(std::current_exception());
    }
  }

  /// Each once; who may GET may HEAD.
  static void allow(std::vector<std::string_view>& allowed, std::string_view method) {
    if (std::find(allowed.begin(), allowed.end(), method) != allowed.end()) return;
    allowed.push_back(method);
    if (method == "GET") allow(allowed, "HEAD");
  }

  static task<web_answer> refused(const std::vector<std::string_view>& allowed) {
    std::string list;
    for (const std::string_view one : allowed)
      list += (list.empty() ? "" : ", ") + std::string(one);
    return refused(std::move(list));
  }
  static task<web_answer> refused(std::string allowed) {
    if (allowed.empty()) co_return text_response(404, "not found");
    response made = text_response(405, "not with this method");
    made.fields.set("Allow", std::move(allowed));
    co_return made;
  }

  std::vector<rule> rules_;
  std::vector<std::function<void()>> closers_;
};

}  // namespace troupe
