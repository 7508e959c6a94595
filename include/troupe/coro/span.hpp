// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Which span of its trace a link of the call chain belongs to.
///
/// Layer: coro. Ids are drawn when somebody asks for them, so that calls nobody traces pay nothing.

#include <cstdint>

#include <troupe/base/hash.hpp>
#include <troupe/coro/chain.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/trace_context.hpp>
#include <troupe/sync/atomic.hpp>

namespace troupe::detail {

/// The nearest link at or above `l` that is a span of its own. What is above lives as long as `l`.
inline chain_link& span_owner(chain_link& l) noexcept {
  chain_link* s = &l;
  while (s->above != nullptr && s->kind != link_kind::call && s->kind != link_kind::traced) {
    s = s->above;
  }
  return *s;
}

/// A random number, but not zero, which stands for none.
inline std::uint64_t draw_id(executor& e) noexcept {
  for (;;) {
    if (const std::uint64_t id = e.random()) return id;
  }
}

/// The span's id, drawn from `e` by whoever asks first.
inline std::uint64_t span_id(chain_link& owner, executor& e) noexcept {
  std::uint64_t id = owner.span.load(order::relaxed);
  if (id != 0) return id;
  const std::uint64_t drawn = draw_id(e);
  return owner.span.compare_exchange_strong(id, drawn, order::relaxed, order::relaxed) ? drawn : id;
}

/// The trace and the span in which what is below `l` runs. Where nobody has drawn a trace, which is
/// so above timers and spawned tasks, it follows from the topmost span.
inline trace_context trace_of(chain_link& l, executor& e) noexcept {
  chain_link& owner = span_owner(l);
  trace_context t = owner.trace;
  t.span = span_id(owner, e);
  if ((t.trace_high | t.trace_low) != 0) return t;
  chain_link* top = &owner;
  while (top->above != nullptr) top = top->above;
  std::uint64_t state = span_id(*top, e);
  t.trace_high = splitmix64(state);
  t.trace_low = splitmix64(state) | 1;
  return t;
}

/// The span above that of `l`; 0: there is none, or nobody knows it.
inline std::uint64_t parent_span_of(chain_link& l, executor& e) noexcept {
  chain_link& owner = span_owner(l);
  return owner.above != nullptr ? span_id(span_owner(*owner.above), e) : owner.trace.span;
}

}  // namespace troupe::detail
