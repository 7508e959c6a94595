// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What processes have in common: messages between addresses, names that one can hold, and jobs.
/// Needs nothing but the standard library.

#include <troupe/net/job_store.hpp>
#include <troupe/net/memory_network.hpp>
#include <troupe/net/network.hpp>
#include <troupe/net/valid_job.hpp>
