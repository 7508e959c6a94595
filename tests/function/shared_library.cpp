// SPDX-License-Identifier: MIT
// Files that are no modules, or not whole: a named error each, and the program goes on.

#include <troupe/function/shared_library.hpp>

#include <cstddef>
#include <span>
#include <string>

#include "kit.hpp"

namespace shared_library_tests {

using functions_kit::bytes_of;
using functions_kit::module_path;

namespace {

troupe::error failure_of(const std::string& path) {
  try {
    const troupe::detail::shared_library library(troupe::module_image::from_file(path));
  } catch (const troupe::error& e) {
    return e;
  }
  throw std::logic_error("it was loaded");
}

bool says(const troupe::error& e, troupe::errc code, const std::string& text) {
  INFO(e.what());
  CHECK(e.code() == troupe::make_error_code(code));
  return e.detail().find(text) != std::string::npos;
}

}  // namespace

TEST_CASE("a module says its name, its version and its functions") {
  const troupe::detail::shared_library library(
      troupe::module_image::from_file(module_path("calculator-v1.0.0")));
  const troupe::module_manifest m = troupe::detail::manifest_of(library.table());
  CHECK(m.name == "calculator");
  CHECK(m.version == "v1.0.0");
  CHECK(m.build.find("troupe ") != std::string::npos);
  REQUIRE(m.find("mean"));
  CHECK(m.functions[*m.find("mean")].signature == "double mean(double, double)");
  CHECK(m.functions[*m.find("hello")].signature == "std::string hello(std::string_view)");
  CHECK(m.functions[*m.find("who")].signature == "std::string who()");
  CHECK(m.functions[*m.find("nothing")].result == 0);
  CHECK(!m.find("no_such_function"));
}

TEST_CASE("the name of a module is its class's, without the namespace") {
  const troupe::detail::shared_library library(
      troupe::module_image::from_file(module_path("faulty-v1.0.0")));
  CHECK(troupe::detail::manifest_of(library.table()).name == "faulty");
}

TEST_CASE("a library is unmapped, and its memory file closed") {
  const std::size_t files = functions_kit::open_files();
  const std::size_t mapped = functions_kit::mapped_modules();
  for (int i = 0; i < 3; ++i) {
    const troupe::detail::shared_library library(
        troupe::module_image::from_file(module_path("calculator-v1.0.0")));
    CHECK(functions_kit::mapped_modules() > mapped);
  }
  CHECK(functions_kit::mapped_modules() == mapped);
  CHECK(functions_kit::open_files() == files);
}

TEST_CASE("what is no module is refused, with its reason") {
  using troupe::errc;
  CHECK(says(failure_of(module_path("there-is-none")), errc::no_such_module, "there-is-none"));
  CHECK(says(failure_of("/"), errc::no_such_module, "not a file"));
  CHECK(says(failure_of("/dev/null"), errc::no_such_module, "not a file"));
  CHECK(says(failure_of("/proc/self/exe"), errc::start_failed, "program"));
  const functions_kit::folder at;
  const std::string text = at.put("text.so", std::string(1000, 'x'));
  CHECK(says(failure_of(text), errc::start_failed, "not a library"));
  CHECK(says(failure_of(module_path("raw_no_entry")), errc::start_failed, "troupe_module_entry"));
  CHECK(says(failure_of(module_path("raw_no_table")), errc::start_failed, "no module"));
  CHECK(says(failure_of(module_path("raw_not_a_table")), errc::start_failed, "no module"));
  CHECK(says(failure_of(module_path("raw_abi")), errc::start_failed, "version 2 of the interface"));
  CHECK(says(failure_of(module_path("raw_short")), errc::start_failed, "not whole"));
  CHECK(says(failure_of(module_path("raw_no_function_pointer")), errc::start_failed, "not whole"));
}

TEST_CASE("a library that is cut short anywhere is refused before it is mapped") {
  const std::string whole = bytes_of(module_path("raw_create"));
  const functions_kit::folder at;
  const std::size_t mapped = functions_kit::mapped_modules();
  const auto all = std::as_bytes(std::span<const char>(whole));
  const std::size_t needed = troupe::detail::look_at_elf(all, all.size()).mapped;
  REQUIRE(needed > 1000);
  for (std::size_t size = 0; size < needed; size += needed / 50) {
    const std::string path = at.put("cut.so", whole.substr(0, size));
    const troupe::error e = failure_of(path);
    INFO(e.what());
    CHECK(e.code() == troupe::make_error_code(troupe::errc::start_failed));
    CHECK_THROWS_AS(troupe::module_image::from_bytes(all.first(size)), troupe::error);
  }
  CHECK(functions_kit::mapped_modules() == mapped);
}

TEST_CASE("no head of an ELF file makes its reader read elsewhere") {
  std::string head = bytes_of(module_path("raw_create")).substr(0, 4096);
  for (std::size_t at = 0; at < 64 + 8 * 56 && at < head.size(); ++at) {
    for (const char value : {'\x00', '\x01', '\x7f', '\xff'}) {
      std::string changed = head;
      changed[at] = value;
      const auto bytes = std::as_bytes(std::span<const char>(changed));
      const troupe::detail::elf_findings found = troupe::detail::look_at_elf(bytes, 1 << 20);
      CHECK(found.mapped <= std::size_t{1} << 20);
    }
  }
}

TEST_CASE("a library goes on when its file is overwritten") {
  const functions_kit::folder at;
  const std::string path = at.put("copy.so", bytes_of(module_path("calculator-v1.0.0")));
  const troupe::detail::shared_library library(troupe::module_image::from_file(path));
  const std::size_t functions = troupe::detail::manifest_of(library.table()).functions.size();
  REQUIRE(functions > 0);
  std::filesystem::resize_file(path, 10);
  CHECK(troupe::detail::manifest_of(library.table()).functions.size() == functions);
}

}  // namespace shared_library_tests
