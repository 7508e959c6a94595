// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a module says of itself, as its host keeps it: copies, whatever becomes of the module.
///
/// Layer: function.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <troupe/function/module_abi.hpp>

namespace troupe {

/// One function of a module.
struct module_function {
  std::string name;
  std::string signature;         ///< For people: "double add(double, double)".
  std::uint64_t parameters = 0;  ///< The codec's fingerprint of the tuple of its parameters.
  std::uint64_t result = 0;      ///< The codec's fingerprint of its result; zero for `void`.
};

/// A module's name, version, build and functions, in the order of its table.
struct module_manifest {
  std::string name;
  std::string version;
  std::string build;          ///< For people.
  std::uint32_t formats = 0;  ///< Bit n: `troupe_format_...` n is understood.
  std::vector<module_function> functions;

  /// The index of a function; nothing: there is none of that name.
  [[nodiscard]] std::optional<std::uint32_t> find(std::string_view function) const noexcept {
    for (std::size_t i = 0; i != functions.size(); ++i) {
      if (functions[i].name == function) return static_cast<std::uint32_t>(i);
    }
    return std::nullopt;
  }
};

namespace detail {

/// Copies what a table says, which has been checked.
inline module_manifest manifest_of(const troupe_module_table& t) {
  module_manifest m;
  m.name = t.name;
  m.version = t.version;
  m.build = t.build;
  m.formats = t.formats;
  m.functions.reserve(t.function_count);
  for (std::uint32_t i = 0; i != t.function_count; ++i) {
    const troupe_module_function& f = t.functions[i];
    m.functions.push_back({f.name, f.signature, f.parameters, f.result});
  }
  return m;
}

}  // namespace detail
}  // namespace troupe
