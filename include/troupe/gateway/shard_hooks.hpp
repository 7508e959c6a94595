// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a gateway calls in classes of users: hooks found by name.
///
/// Layer: gateway. Compile time; the functions run in turns of the user's worker.

#include <concepts>
#include <cstddef>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <troupe/actor/method_traits.hpp>
#include <troupe/base/error.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/gateway/request.hpp>
#include <troupe/gateway/response.hpp>
#include <troupe/gateway/socket.hpp>
#include <troupe/gateway/socket_message.hpp>

namespace troupe::detail {

using bytes_view = std::span<const std::byte>;

/// Returned by value or by a task.
template <class R, class T>
concept gives = std::convertible_to<typename untask<R>::type, T>;
template <class R>
concept gives_nothing = std::is_void_v<typename untask<R>::type>;

template <class S>
concept has_receive = requires(S& s, request r) {
  { s.receive(std::move(r)) } -> gives<response>;
};
template <class S>
concept has_on_open = requires(S& s, socket& k) {
  { s.on_open(k) } -> gives_nothing;
};
template <class S>
concept takes_messages = requires(S& s, socket& k, const socket_message& m) {
  { s.on_message(k, m) } -> gives_nothing;
};
template <class S>
concept takes_text = requires(S& s, socket& k, std::string_view t) {
  { s.on_message(k, t) } -> gives_nothing;
};
template <class S>
concept takes_bytes = requires(S& s, socket& k, bytes_view b) {
  { s.on_message(k, b) } -> gives_nothing;
};
template <class S>
concept has_on_close_with_info = requires(S& s, socket& k, const close_info& i) {
  { s.on_close(k, i) } -> gives_nothing;
};
template <class S>
concept has_on_close_alone = requires(S& s, socket& k) {
  { s.on_close(k) } -> gives_nothing;
};
template <class S>
concept has_on_error_with_error = requires(S& s, socket& k, std::exception_ptr e) {
  { s.on_error(k, e) } -> gives_nothing;
};
template <class S>
concept has_on_error_alone = requires(S& s, socket& k) {
  { s.on_error(k) } -> gives_nothing;
};
template <class S>
concept has_on_gossip = requires(S& s, std::string_view t) {
  { s.on_gossip(t) } -> gives<std::string>;
};

// A member of that name, whatever it is: asked by making the name ambiguous in a derived class.
struct shard_hook_names {
  int receive, on_open, on_message, on_close, on_error, on_gossip;
};
template <class S>
struct shard_names_of : S, shard_hook_names {};
template <class S>
concept asks_for_names = std::is_class_v<S> && !std::is_final_v<S>;

template <class S>
concept names_receive = asks_for_names<S> && !requires { &shard_names_of<S>::receive; };
template <class S>
concept names_on_open = asks_for_names<S> && !requires { &shard_names_of<S>::on_open; };
template <class S>
concept names_on_message = asks_for_names<S> && !requires { &shard_names_of<S>::on_message; };
template <class S>
concept names_on_close = asks_for_names<S> && !requires { &shard_names_of<S>::on_close; };
template <class S>
concept names_on_error = asks_for_names<S> && !requires { &shard_names_of<S>::on_error; };
template <class S>
concept names_on_gossip = asks_for_names<S> && !requires { &shard_names_of<S>::on_gossip; };

/// Fails to compile, with a sentence, where a member bears a hook's name and is none.
template <class S>
constexpr void check_shard_hooks() {
  static_assert(!names_receive<S> || has_receive<S>,
                "troupe: receive takes a troupe::request and returns a troupe::response, or a task "
                "of one, and is public");
  static_assert(!names_on_open<S> || has_on_open<S>,
                "troupe: on_open takes a troupe::socket&, returns void or troupe::task<>, and is "
                "public");
  static_assert(!names_on_message<S> || takes_messages<S> || takes_text<S> || takes_bytes<S>,
                "troupe: on_message takes a troupe::socket& and a std::string_view, a "
                "std::span<const std::byte> or a const troupe::socket_message&, returns void or "
                "troupe::task<>, and is public");
  static_assert(!names_on_close<S> || has_on_close_with_info<S> || has_on_close_alone<S>,
                "troupe: on_close takes a troupe::socket& and, if it likes, a const "
                "troupe::close_info&, returns void or troupe::task<>, and is public");
  static_assert(!names_on_error<S> || has_on_error_with_error<S> || has_on_error_alone<S>,
                "troupe: on_error takes a troupe::socket& and, if it likes, a std::exception_ptr, "
                "returns void or troupe::task<>, and is public");
  static_assert(!names_on_gossip<S> || has_on_gossip<S>,
                "troupe: on_gossip takes a std::string_view and returns a std::string, or a task "
                "of one, and is public");
}

/// Who gets messages of which kind.
template <class S>
inline constexpr bool hears_text = takes_messages<S> || takes_text<S>;
template <class S>
inline constexpr bool hears_bytes = takes_messages<S> || takes_bytes<S>;
template <class S>
inline constexpr bool has_on_error = has_on_error_with_error<S> || has_on_error_alone<S>;
template <class S>
inline constexpr bool has_on_close = has_on_close_with_info<S> || has_on_close_alone<S>;

/// The hooks as methods of `S`. A hook gets the session's own socket, which is no constant; it is
/// passed as one because arguments of calls are.
///
/// Each looks, in its turn, whether it is on the instance that has opened the socket: another one
/// knows nothing of it, and hears nothing of it.
template <class S>
struct shard_calls {
  static auto receive(S& self, request asked) { return self.receive(std::move(asked)); }
  static auto on_open(S& self, const socket& s) {
    socket_state& state = socket_access::state_of(s);
    state.opened_by = state.shard->generation();
    return self.on_open(own(s));
  }
  static auto on_message(S& self, const socket& s, const socket_message& m) {
    return if_known(s, [&] { return self.on_message(own(s), m); });
  }
  static auto on_text(S& self, const socket& s, const socket_message& m) {
    return if_known(s, [&] { return self.on_message(own(s), m.text()); });
  }
  static auto on_bytes(S& self, const socket& s, const socket_message& m) {
    return if_known(s, [&] { return self.on_message(own(s), m.payload().bytes()); });
  }
  static auto on_close(S& self, const socket& s, const close_info& how) {
    return if_known(s, [&] {
      if constexpr (has_on_close_with_info<S>) {
        return self.on_close(own(s), how);
      } else {
        return self.on_close(own(s));
      }
    });
  }
  static auto on_error(S& self, const socket& s, const std::exception_ptr& e) {
    return if_known(s, [&] {
      if constexpr (has_on_error_with_error<S>) {
        return self.on_error(own(s), e);
      } else {
        return self.on_error(own(s));
      }
    });
  }
  static auto on_gossip(S& self, std::string_view text) { return self.on_gossip(text); }

private:
  static socket& own(const socket& s) noexcept { return const_cast<socket&>(s); }

  template <class Hook>
  static auto if_known(const socket& s, Hook hook) {
    const socket_state& state = socket_access::state_of(s);
    const bool is_known = state.opened_by == state.shard->generation();
    if constexpr (std::is_void_v<decltype(hook())>) {
      if (is_known) hook();
    } else {
      return is_known ? hook() : nothing();
    }
  }
  static task<> nothing() { co_return; }
};

// --- the gateway's class ------------------------------------------------------------------------

template <class G>
concept has_identify = requires(G& g, const request& r) {
  { g.identify(r) } -> gives<std::optional<std::string>>;
};
template <class G>
concept has_clusterize_by_request = requires(G& g, const request& r) {
  { g.clusterize(r) } -> gives<std::string>;
};
template <class G>
concept has_clusterize_alone = requires(G& g) {
  { g.clusterize() } -> gives<std::string>;
};
template <class G>
concept has_clusterize = has_clusterize_by_request<G> || has_clusterize_alone<G>;

struct gateway_hook_names {
  int clusterize, receive;
};
template <class G>
struct gateway_names_of : G, gateway_hook_names {};
template <class G>
concept names_clusterize = asks_for_names<G> && !requires { &gateway_names_of<G>::clusterize; };
template <class G>
concept names_gateway_receive = asks_for_names<G> && !requires { &gateway_names_of<G>::receive; };

template <class G>
struct gateway_calls {
  static auto identify(G& self, const request& asked) { return self.identify(asked); }
  static auto clusterize(G& self, const request& asked) {
    if constexpr (has_clusterize_by_request<G>) {
      return self.clusterize(asked);
    } else {
      return self.clusterize();
    }
  }
  static auto receive(G& self, request asked) { return self.receive(std::move(asked)); }
};

template <class G>
constexpr void check_gateway_class() {
  static_assert(
      requires { static_cast<std::size_t>(G::limit); },
      "troupe: a gateway's class says how many connections a shard takes: "
      "static constexpr std::size_t limit = 50;");
  static_assert(has_identify<G>,
                "troupe: a gateway's class says who asks: identify takes a const troupe::request&, "
                "returns a std::string or a std::optional of one, or a task of it, and is public");
  static_assert(G::limit > 0, "troupe: the limit of a shard is at least one connection");
  static_assert(!names_clusterize<G> || has_clusterize<G>,
                "troupe: clusterize takes nothing or a const troupe::request&, returns a "
                "std::string or a task of one, and is public");
  static_assert(!names_gateway_receive<G> || has_receive<G>,
                "troupe: receive takes a troupe::request and returns a troupe::response, or a task "
                "of one, and is public");
}

}  // namespace troupe::detail
