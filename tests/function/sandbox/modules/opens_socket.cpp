// SPDX-License-Identifier: MIT
// A module whose static constructor reaches out before anybody has called it.

#include <sys/socket.h>

namespace {

struct opens {
  opens() { socket(AF_INET, SOCK_STREAM, 0); }
} constructed;

}  // namespace
