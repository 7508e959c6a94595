// SPDX-License-Identifier: MIT
// What the module `fetch` gives to others.
#pragma once

#include <string>

namespace app {

struct fetched {
  int status = 0;
  std::string type;
  std::string body;
};

}  // namespace app
