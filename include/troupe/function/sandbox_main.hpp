// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `sandbox_main`: lets a program be the helper that starts its own sandboxed modules.
///
/// Layer: function. Linux.

#include <cstring>

#include <troupe/function/sandbox/helper.hpp>
#include <troupe/function/sandbox/helper_choice.hpp>
#include <troupe/function/sandbox/helper_messages.hpp>

namespace troupe {

/// The first line of a `main`. Returns at once, unless this process was started to be the helper of
/// a sandbox: then it is that, and does not return. A program that calls it needs no helper beside
/// it.
///
/// Static constructors of the program run in the helper as well, before this: they should start no
/// thread.
inline void sandbox_main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], detail::sandbox::helper_argument) == 0)
    detail::sandbox::helper::run();
  detail::sandbox::program_is_helper().store(true, detail::order::release);
}

}  // namespace troupe
