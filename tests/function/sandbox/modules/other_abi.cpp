// SPDX-License-Identifier: MIT
// A module for another version of the interface.

#include <troupe/function/module_abi.hpp>

extern "C" [[gnu::visibility("default")]] const troupe_module_table* troupe_module_entry() {
  static troupe_module_table table{};
  table.magic = troupe_module_magic;
  table.abi = 77;
  table.size = sizeof table;
  return &table;
}
