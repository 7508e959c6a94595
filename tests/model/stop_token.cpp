// SPDX-License-Identifier: MIT
// A callback runs once if stop is requested, never after it was removed, and its end is waited for.

#include <model/checker/checker.hpp>

#include <troupe/coro/chain.hpp>
#include <troupe/coro/stop_token.hpp>

#include <optional>

namespace {

namespace model = troupe::model;
using troupe::detail::chain_link;
using troupe::detail::link_kind;

/// A callback that uses what its owner destroys next.
void removed() {
  troupe::stop_source source;
  model::var<int> data(0);
  model::run([&] { source.request_stop(); },
             [&, token = source.get_token()] {
               {
                 const troupe::stop_callback callback(token, [&] { data.set(data.get() + 1); });
               }
               const int before = data.get();
               model::check(before <= 1, "called twice");
               data.set(10);
             });
  model::check(data.get() == 10, "called after its removal");
}

/// Two request it: one of them does.
void requested_twice() {
  troupe::stop_source source;
  model::var<int> data(0);
  const troupe::stop_callback callback(source.get_token(), [&] { data.set(data.get() + 1); });
  int first = 0;
  const auto ask = [&] {
    if (source.request_stop()) ++first;
  };
  model::run(ask, ask);
  model::check(first == 1 && data.get() == 1, "not requested exactly once");
}

/// What was written before the request is seen by who learns of it.
void seen() {
  troupe::stop_source source;
  model::var<int> data(0);
  model::run(
      [&] {
        data.set(1);
        source.request_stop();
      },
      [&, token = source.get_token()] {
        if (token.stop_requested()) model::check(data.get() == 1, "the reason is not seen");
      });
}

/// A callback that comes too late, and is run at once, sees the reason as well.
void told_at_once() {
  troupe::stop_source source;
  model::var<int> data(0);
  model::run(
      [&] {
        data.set(1);
        source.request_stop();
      },
      [&, token = source.get_token()] {
        const troupe::stop_callback callback(
            token, [&] { model::check(data.get() == 1, "stopped without the reason"); });
      });
}

/// The first requests, the second is told that it came later: it sees what the first has written.
void second_sees_first() {
  troupe::stop_source source;
  model::var<int> data(0);
  const auto ask = [&] {
    if (source.stop_requested()) return;
    if (!source.request_stop()) static_cast<void>(data.get());
  };
  model::run(
      [&] {
        data.set(1);
        source.request_stop();
      },
      ask);
}

/// The last of source, token and callback takes the state with it.
void last_owner() {
  std::optional<troupe::stop_source> source(std::in_place);
  model::run([&, token = source->get_token()]() mutable { token = troupe::stop_token(); },
             [&, token = source->get_token()]() mutable {
               const troupe::stop_callback callback(token, [] {});
               token = troupe::stop_token();
             },
             [&] {
               source->request_stop();
               source.reset();
             });
}

/// The state of a link, made by two at once while a third requests a stop.
void of_a_link() {
  chain_link above(link_kind::root);
  above.make_stoppable();
  chain_link link(link_kind::scope);
  link.join(&above);
  link.make_stoppable();
  model::var<int> reason(0);
  int told = 0;
  const auto listen = [&] {
    class hook final : public troupe::detail::stop_hook {
    public:
      hook(int& count, model::var<int>& why) : stop_hook(&hook::call), count_(count), why_(why) {}

    private:
      static void call(stop_hook& h) noexcept {
        ++static_cast<hook&>(h).count_;
        model::check(static_cast<hook&>(h).why_.get() == 1, "stopped without the reason");
      }
      int& count_;
      model::var<int>& why_;
    };
    hook h(told, reason);
    h.attach(link.stop());
    h.detach();
  };
  model::run(
      [&] {
        reason.set(1);
        above.request_stop();
      },
      [&] {
        listen();
        if (link.stop_requested()) model::check(reason.get() == 1, "stopped without the reason");
      });
  model::check(told <= 1, "told twice");
  listen();
  model::check(told >= 1, "not told");
}

void two_ask_a_link() {
  chain_link link(link_kind::root);
  link.make_stoppable();
  troupe::detail::stop_state* seen[2] = {};
  const auto ask = [&](int i) {
    seen[i] = link.stop();
    model::check(!seen[i]->requested(), "a request out of nothing");
  };
  model::run([&] { ask(0); }, [&] { ask(1); });
  model::check(seen[0] == seen[1], "two states of one link");
}

/// The request and the making of the state meet.
void stop_of_a_fresh_link() {
  chain_link link(link_kind::root);
  link.make_stoppable();
  model::var<int> reason(0);
  model::run(
      [&] {
        reason.set(1);
        link.request_stop();
      },
      [&] {
        if (link.stop()->requested()) model::check(reason.get() == 1, "stopped without the reason");
      },
      [&] {
        if (link.stop_requested()) model::check(reason.get() == 1, "stopped without the reason");
      });
  model::check(link.stop()->requested(), "the request was lost");
}

constexpr model::limits bounds{.preemptions = 3, .stale_reads = 2, .spurious = 1};

const model::scenario all[] = {
    {"stop_token.removed", removed, bounds},
    {"stop_token.requested_twice", requested_twice, bounds},
    {"stop_token.seen", seen, bounds},
    {"stop_token.told_at_once", told_at_once, bounds},
    {"stop_token.second_sees_first", second_sees_first, bounds},
    {"stop_token.last_owner", last_owner, {.preemptions = 2}},
    {"stop_token.of_a_link", of_a_link, {.preemptions = 2}},
    {"stop_token.two_ask_a_link", two_ask_a_link, bounds},
    {"stop_token.of_a_fresh_link", stop_of_a_fresh_link, {.preemptions = 2}}};

}  // namespace
