// SPDX-License-Identifier: MIT
// How a file looks line by line: length, blanks, licence, guard, nothing left over.

#include <array>

#include "source_tree.hpp"

namespace house {
namespace {

constexpr std::size_t max_columns = 100;
constexpr std::string_view licence = "// SPDX-License-Identifier: MIT";

// Put together here, or this file would find itself.
const std::array<std::string, 6>& leftovers() {
  static const std::array<std::string, 6> words{
      std::string("TO") + "DO", std::string("FIX") + "ME",   std::string("X") + "XX",
      std::string("HA") + "CK", std::string("<<<<") + "<<<", std::string(">>>>") + ">>>"};
  return words;
}

std::size_t columns(std::string_view line) {
  std::size_t count = 0;
  for (const char byte : line) {
    const bool continues_a_character = (static_cast<unsigned char>(byte) & 0xC0U) == 0x80U;
    if (!continues_a_character) ++count;
  }
  return count;
}

bool is_measured(std::string_view path) {
  static constexpr std::string_view folders[] = {"include/", "examples/", "tests/", "bench/"};
  for (const std::string_view folder : folders) {
    if (path.starts_with(folder) && is_cpp(path)) return true;
  }
  return false;
}

void check_line(const std::string& path, std::size_t number, std::string_view line,
                findings& found) {
  if (columns(line) > max_columns) {
    found.push_back({path, number, "is longer than 100 columns; break it"});
  }
  if (line.find('\t') != std::string_view::npos) {
    found.push_back({path, number, "has a tab; indent with spaces"});
  }
  if (line.ends_with(' ') || line.ends_with('\r')) {
    found.push_back({path, number, "ends in a blank; remove it"});
  }
}

void check_head(const std::string& path, const source_file& file, findings& found) {
  // What must not compile begins with the message that is expected.
  const bool expects_first = path.starts_with("tests/compile_fail/");
  if (file.line(1) != licence && !(expects_first && file.line(2) == licence)) {
    found.push_back({path, 1, "does not begin with: " + std::string(licence)});
  }
  if (is_header(path) && find_word(file.without_comments, "#pragma once") == std::string::npos) {
    found.push_back({path, 1, "has no #pragma once"});
  }
  if (!file.text.empty() && !file.text.ends_with('\n')) {
    found.push_back({path, 0, "does not end in a line break"});
  }
}

}  // namespace

findings check_lines(const source_tree& tree) {
  findings found;
  for (const auto& [path, file] : tree) {
    for (const std::string& word : leftovers()) {
      const std::size_t position = find_word(file.text, word);
      if (position == std::string::npos) continue;
      found.push_back({path, file.line_of(position), "has a leftover marker; do it or drop it"});
    }
    if (!is_measured(path)) continue;
    check_head(path, file, found);
    std::string_view rest = file.text;
    for (std::size_t number = 1; !rest.empty(); ++number) {
      const std::size_t end = std::min(rest.find('\n'), rest.size());
      check_line(path, number, rest.substr(0, end), found);
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }
  return found;
}

}  // namespace house
