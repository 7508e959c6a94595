// SPDX-License-Identifier: MIT
// The helper of sandboxed modules: started by programs that are not their own, never by people.

#include <cstdio>

#include <troupe/function/sandbox_main.hpp>

int main(int argc, char** argv) {
  troupe::sandbox_main(argc, argv);
  std::fputs("troupe-function: started by programs that run sandboxed modules\n", stderr);
  return 2;
}
