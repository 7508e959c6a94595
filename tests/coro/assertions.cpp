// SPDX-License-Identifier: MIT
// Broken preconditions end the program with a message that says which. Each is broken in a child
// process, whose standard error is read.

#include <troupe/config.hpp>

#include "../support/catch.hpp"

#if defined(__unix__) || defined(__APPLE__)

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <coroutine>
#include <csignal>
