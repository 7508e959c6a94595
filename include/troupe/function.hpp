// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Modules and functions: versioned shared libraries, loaded as they are called. Linux.
///
/// For programs that call modules; a module itself includes <troupe/function/module.hpp>.

#include <troupe/function/function_host.hpp>
#include <troupe/function/function_options.hpp>
#include <troupe/function/function_request.hpp>
#include <troupe/function/library.hpp>
#include <troupe/function/module_error.hpp>
#include <troupe/function/module_permissions.hpp>
#include <troupe/function/module_source.hpp>
#include <troupe/function/sandbox_main.hpp>
#include <troupe/function/sandbox_options.hpp>
