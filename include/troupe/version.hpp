// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The version of the library; the build systems read it from here.
///
/// Layer: config.

#define TROUPE_VERSION_MAJOR 0
#define TROUPE_VERSION_MINOR 1
#define TROUPE_VERSION_PATCH 0
#define TROUPE_VERSION_STRING "0.1.0"
