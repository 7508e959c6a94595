// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// HTTP and WebSockets, by Boost.Beast (1.74 or later).

#include <troupe/adapter/web/web_answer.hpp>
#include <troupe/adapter/web/web_files.hpp>
#include <troupe/adapter/web/web_options.hpp>
#include <troupe/adapter/web/web_router.hpp>
#include <troupe/adapter/web/web_server.hpp>
