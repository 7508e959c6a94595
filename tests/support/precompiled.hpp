// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What most tests include, compiled once per configuration. Tests include what they need
/// themselves; this only saves time.

#include <troupe.hpp>

#include "catch.hpp"
