// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Processes that have a Redis server in common (7.0 or later), by hiredis and OpenSSL.

#include <troupe/adapter/redis/redis_network.hpp>
#include <troupe/adapter/redis/redis_options.hpp>
