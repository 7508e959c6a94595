// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// troupe: typed actors called through `co_await`. Everything that needs only the standard library.

#include <troupe/actor/call.hpp>
#include <troupe/actor/caller.hpp>
#include <troupe/actor/cell_service.hpp>
#include <troupe/actor/context.hpp>
#include <troupe/actor/dead_letter.hpp>
#include <troupe/actor/hooks.hpp>
#include <troupe/actor/methods.hpp>
#include <troupe/actor/options.hpp>
#include <troupe/actor/proxy.hpp>
#include <troupe/actor/sendable.hpp>
#include <troupe/base/error.hpp>
#include <troupe/base/hash.hpp>
#include <troupe/base/intrusive_list.hpp>
#include <troupe/base/intrusive_ptr.hpp>
#include <troupe/base/result.hpp>
#include <troupe/base/scope_exit.hpp>
#include <troupe/base/shared_bytes.hpp>
#include <troupe/base/type_name.hpp>
#include <troupe/base/unique_function.hpp>
#include <troupe/base/worker_id.hpp>
#include <troupe/broker/broker.hpp>
#include <troupe/config.hpp>
#include <troupe/coro/as_result.hpp>
#include <troupe/coro/executor.hpp>
#include <troupe/coro/offload.hpp>
#include <troupe/coro/sleep.hpp>
#include <troupe/coro/stop_token.hpp>
#include <troupe/coro/sync_wait.hpp>
#include <troupe/coro/task.hpp>
#include <troupe/coro/task_scope.hpp>
#include <troupe/coro/this_task.hpp>
#include <troupe/coro/when_all.hpp>
#include <troupe/coro/when_any.hpp>
#include <troupe/coro/within.hpp>
#include <troupe/exec/thread_pool.hpp>
#include <troupe/time/backoff.hpp>
#include <troupe/time/clock.hpp>
#include <troupe/version.hpp>
