// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Jobs, which instruments run, wherever they are. Needs nothing but the standard library.

#include <troupe/job/client.hpp>
#include <troupe/job/composer.hpp>
#include <troupe/job/instrument.hpp>
#include <troupe/job/workspace.hpp>
#include <troupe/net/memory_network.hpp>
