// SPDX-License-Identifier: MIT
// A module that makes no instance, and says why.

#include <troupe/function/module_abi.hpp>

extern "C" [[gnu::visibility("default")]] const troupe_module_table* troupe_module_entry() {
  static troupe_module_table table{};
  table.magic = troupe_module_magic;
  table.abi = troupe_module_abi;
  table.size = sizeof table;
  table.name = "will_not";
  table.version = "v1.0.0";
  table.build = "";
  table.create = [](const troupe_module_host*, void (*fail)(void*, const char*),
                    void* context) -> void* {
    fail(context, "not today");
    return nullptr;
  };
  return &table;
}
