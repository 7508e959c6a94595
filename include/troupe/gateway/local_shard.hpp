// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// A shard whose worker is in this process.
///
/// Layer: gateway.

#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

#include <troupe/actor/monitor.hpp>
#include <troupe/actor/proxy.hpp>
#include <troupe/base/error.hpp>
#include <troupe/broker/broker.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/gateway/hosted_session.hpp>  // defines what a hosted shard does with a visit
#include <troupe/gateway/hosted_shard.hpp>
#include <troupe/gateway/shard_hooks.hpp>
#include <troupe/gateway/socket.hpp>
#include <troupe/time/clock.hpp>

namespace troupe::detail {

/// The worker `<cluster>/<id>` of class `S`. Where its instance goes, its sockets are closed: the
/// next one knows nothing of them.
template <class S>
class local_shard final : public hosted_shard {
public:
  local_shard(broker& b, std::string_view cluster_name, std::string name, std::uint64_t n)
      : hosted_shard(std::move(name), n),
        workers_(b),
        worker_(b.worker<S>(std::string(cluster_name) + '/' + id)),
        watch_(worker_, [this](const worker_notice& what) { note(what); }) {}

  task<response> receive(request asked) override {
    if constexpr (has_receive<S>) {
      co_return co_await worker_.template call<&calls::receive>(std::move(asked));
    } else {
      co_return asked.connect();
    }
  }

  task<> open(const socket& s) override {
    if constexpr (has_on_open<S>) {
      co_await worker_.template call<&calls::on_open>(s);
    } else {
      socket_access::state_of(s).opened_by = generation();
      co_return;
    }
  }

  task<> message(const socket& s, const socket_message& m) override {
    if constexpr (!hears_text<S> && !hears_bytes<S>) {
      co_return;  // it speaks, and does not listen
    } else {
      if (m.is_binary() ? !hears_bytes<S> : !hears_text<S>) {
        s.close({close_code::unsupported_data, m.is_binary() ? "texts only" : "no texts"});
        co_return;
      }
      if constexpr (takes_messages<S>) {
        co_await worker_.template call<&calls::on_message>(s, m);
      } else if (m.is_binary()) {
        if constexpr (takes_bytes<S>) co_await worker_.template call<&calls::on_bytes>(s, m);
      } else {
        if constexpr (takes_text<S>) co_await worker_.template call<&calls::on_text>(s, m);
      }
    }
  }

  task<> end(const socket& s, const close_info& how, std::exception_ptr failure) override {
    if constexpr (has_on_error<S>) {
      if (failure) {
        co_await worker_.template call<&calls::on_error>(s, failure);
        co_return;
      }
    }
    if constexpr (has_on_close<S>) co_await worker_.template call<&calls::on_close>(s, how);
    co_return;
  }

  task<std::string> gossip(std::string_view text, duration limit) override {
    if constexpr (has_on_gossip<S>) {
      co_return co_await worker_.template call<&calls::on_gossip>(text).within(limit);
    } else {
      throw error(errc::no_such_method, worker_.id(), "the shard has no on_gossip");
      co_return std::string();
    }
  }

  task<> retire() override {
    static_cast<void>(co_await workers_.template remove<S>(worker_.key()));
  }

private:
  using calls = shard_calls<S>;

  void note(const worker_notice& what) {
    if (what.kind == worker_notice::stopped) instance_gone();
  }

  broker& workers_;
  const proxy<S> worker_;
  const monitor watch_;
};

}  // namespace troupe::detail
