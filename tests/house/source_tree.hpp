// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The project's own files in memory, and what every house rule needs to read them.

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace house {

/// One file: as written, and with what is not code blanked out. All three have the same length and
/// the same line breaks, so a position found in one is a position in the others.
struct source_file {
  source_file() = default;
  explicit source_file(std::string written);

  std::string text;
  std::string without_comments;
  std::string code;  // without comments and without the content of literals

  std::size_t line_of(std::size_t position) const;
  std::string_view line(std::size_t number) const;  // from 1; empty if there is none
};

/// Path below the project's root, with forward slashes, to file.
using source_tree = std::map<std::string, source_file>;

/// Reads every text file that is ours: no build results, nothing hidden but what is named.
source_tree read_tree(const std::filesystem::path& root);

struct finding {
  std::string path;
  std::size_t line;  // 0: the file as a whole
  std::string message;
};
using findings = std::vector<finding>;

struct rule {
  std::string_view name;
  std::string_view summary;
  findings (*check)(const source_tree&);
};

/// A rule may be broken where a comment on the same line, or alone on the line above, says
/// `house: allow <rule>: <why>`. Line 0 is allowed by such a comment anywhere in the file.
findings without_allowed(const source_tree& tree, std::string_view rule_name, findings found);

struct include {
  std::size_t line;
  std::string target;  // as written between the brackets
  bool angled;
};
std::vector<include> includes_of(const source_file& file);

bool is_header(std::string_view path);
bool is_cpp(std::string_view path);  // headers too

/// The folder below include/troupe, or the layer whose umbrella the file is. Empty for troupe.hpp
/// and for what lies outside include/troupe.
std::string layer_of(std::string_view path);

/// True where `word` stands in `code` at `position` with no identifier character beside it.
bool is_word_at(std::string_view code, std::size_t position, std::string_view word);

/// Position of the next whole word `word` at or after `from`; npos if there is none.
std::size_t find_word(std::string_view code, std::string_view word, std::size_t from = 0);

// The rules, one file each.
findings check_layers(const source_tree& tree);
findings check_umbrella(const source_tree& tree);
findings check_lines(const source_tree& tree);
findings check_words(const source_tree& tree);
findings check_conditions(const source_tree& tree);

}  // namespace house
