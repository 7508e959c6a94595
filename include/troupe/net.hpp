// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What processes have in common: messages between addresses, and names that one can hold. Needs
/// nothing but the standard library.

#include <troupe/net/memory_network.hpp>
#include <troupe/net/network.hpp>
