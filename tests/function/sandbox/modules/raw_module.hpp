// SPDX-License-Identifier: MIT
#pragma once

// A module by hand: what the tests of the sandbox need below the library's own way to write one. A
// function gets the call, and has settled it when it returns, or has kept it.

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include <troupe/function/module_abi.hpp>

namespace raw {

inline const troupe_module_host* host = nullptr;

inline void settle(troupe_module_call* c, std::string_view text,
                   std::uint32_t outcome = troupe_outcome_value) {
  c->settle(c, outcome, 0, {reinterpret_cast<const unsigned char*>(text.data()), text.size()});
}
inline std::string_view text_of(troupe_bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data), static_cast<std::size_t>(bytes.size)};
}
inline troupe_bytes bytes_of(std::string_view text) {
  return {reinterpret_cast<const unsigned char*>(text.data()), text.size()};
}

using function = void (*)(troupe_module_call*);
struct entry {
  const char* name;
  function run;
};

// Each module defines these.
extern const std::vector<entry> functions;
void on_stop(std::uint64_t id);
void on_wake();
void on_create();
void on_close(void (*ended)(void*), void* context);

inline int instance = 0;

}  // namespace raw

#define TROUPE_RAW_MODULE(name_text)                                                            \
  extern "C" [[gnu::visibility("default")]] const troupe_module_table* troupe_module_entry() {  \
    static std::vector<troupe_module_function> table_functions;                                 \
    static troupe_module_table table;                                                           \
    table_functions.clear();                                                                    \
    for (const raw::entry& one : raw::functions) {                                              \
      table_functions.push_back({one.name, one.name, 1, 2});                                    \
    }                                                                                           \
    table = {troupe_module_magic,                                                               \
             troupe_module_abi,                                                                 \
             sizeof(troupe_module_table),                                                       \
             static_cast<std::uint32_t>(table_functions.size()),                                \
             3,                                                                                 \
             0,                                                                                 \
             name_text,                                                                         \
             "v1.0.0",                                                                          \
             "by hand",                                                                         \
             table_functions.data(),                                                            \
             [](const troupe_module_host* h, void (*)(void*, const char*), void*) -> void* {    \
               raw::host = h;                                                                   \
               raw::on_create();                                                                \
               return &raw::instance;                                                           \
             },                                                                                 \
             [](void*, troupe_module_call* c) { raw::functions[c->function].run(c); },          \
             [](void*, std::uint64_t id) { raw::on_stop(id); },                                 \
             [](void*) { raw::on_wake(); },                                                     \
             [](void*, void (*ended)(void*), void* context) { raw::on_close(ended, context); }, \
             [](void*) {}};                                                                     \
    return &table;                                                                              \
  }
