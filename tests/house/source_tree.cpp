// SPDX-License-Identifier: MIT
#include "source_tree.hpp"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <iterator>
#include <utility>

namespace house {
namespace {

bool is_identifier_char(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

void blank(std::string& text, std::size_t from, std::size_t to) {
  for (std::size_t i = from; i < to && i < text.size(); ++i) {
    if (text[i] != '\n') text[i] = ' ';
  }
}

// Position behind a literal whose opening quote is at `quote`.
std::size_t end_of_quoted(std::string_view text, std::size_t quote) {
  for (std::size_t i = quote + 1; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == text[quote] || text[i] == '\n') {
      return i + 1;
    }
  }
  return text.size();
}

std::size_t end_of_raw(std::string_view text, std::size_t quote) {
  const std::size_t open = text.find('(', quote);
  if (open == std::string_view::npos) return text.size();
  std::string closing = ")";
  closing += text.substr(quote + 1, open - quote - 1);
  closing += '"';
  const std::size_t close = text.find(closing, open);
  return close == std::string_view::npos ? text.size() : close + closing.size();
}

bool is_raw_string_at(std::string_view text, std::size_t quote) {
  return text[quote] == '"' && quote > 0 && text[quote - 1] == 'R';
}

// 1'000: the quote separates digits and opens nothing.
bool is_digit_separator(std::string_view text, std::size_t quote) {
  if (text[quote] != '\'' || quote == 0 || quote + 1 >= text.size()) return false;
  if (std::isxdigit(static_cast<unsigned char>(text[quote + 1])) == 0) return false;
  std::size_t start = quote;
  while (start > 0 && (is_identifier_char(text[start - 1]) || text[start - 1] == '\'')) --start;
  return start < quote && std::isdigit(static_cast<unsigned char>(text[start])) != 0;
}

bool is_skipped_folder(const std::string& name) {
  return name == "build" || name == "__pycache__" || (name.starts_with('.') && name != ".ci");
}

bool is_text_file(const std::filesystem::path& path) {
  static constexpr std::string_view extensions[] = {".hpp",   ".cpp",   ".h",   ".md",   ".txt",
                                                    ".cmake", ".py",    ".sh",  ".json", ".in",
                                                    ".yml",   ".build", ".toml"};
  static constexpr std::string_view names[] = {"dev", "run", "LICENSE", "usage"};
  return std::ranges::count(extensions, path.extension().string()) != 0 ||
         std::ranges::count(names, path.filename().string()) != 0;
}

}  // namespace

source_file::source_file(std::string written)
    : text(std::move(written)), without_comments(text), code(text) {
  const std::string_view view = text;
  for (std::size_t i = 0; i < view.size();) {
    std::size_t end = i + 1;
    if (view.substr(i, 2) == "//") {
      end = std::min(view.find('\n', i), view.size());
      blank(without_comments, i, end);
      blank(code, i, end);
    } else if (view.substr(i, 2) == "/*") {
      const std::size_t close = view.find("*/", i + 2);
      end = close == std::string_view::npos ? view.size() : close + 2;
      blank(without_comments, i, end);
      blank(code, i, end);
    } else if (view[i] == '"' || (view[i] == '\'' && !is_digit_separator(view, i))) {
      end = is_raw_string_at(view, i) ? end_of_raw(view, i) : end_of_quoted(view, i);
      blank(code, i + 1, end - 1);
    }
    i = end;
  }
}

std::size_t source_file::line_of(std::size_t position) const {
  const auto end = text.begin() + static_cast<std::ptrdiff_t>(std::min(position, text.size()));
  return static_cast<std::size_t>(std::count(text.begin(), end, '\n')) + 1;
}

std::string_view source_file::line(std::size_t number) const {
  std::string_view rest = text;
  for (; number > 1; --number) {
    const std::size_t end = rest.find('\n');
    if (end == std::string_view::npos) return {};
    rest.remove_prefix(end + 1);
  }
  return number == 0 ? std::string_view{} : rest.substr(0, rest.find('\n'));
}

source_tree read_tree(const std::filesystem::path& root) {
  namespace fs = std::filesystem;
  source_tree tree;
  for (auto entry = fs::recursive_directory_iterator(root); entry != fs::end(entry); ++entry) {
    if (entry->is_directory() && is_skipped_folder(entry->path().filename().string())) {
      entry.disable_recursion_pending();
    } else if (entry->is_regular_file() && is_text_file(entry->path())) {
      std::ifstream in(entry->path(), std::ios::binary);
      std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
      tree.emplace(entry->path().lexically_relative(root).generic_string(),
                   source_file(std::move(text)));
    }
  }
  return tree;
}

findings without_allowed(const source_tree& tree, std::string_view rule_name, findings found) {
  const std::string waiver = "house: allow " + std::string(rule_name) + ": ";
  std::erase_if(found, [&](const finding& one) {
    const auto file = tree.find(one.path);
    if (file == tree.end()) return false;
    if (one.line == 0) return file->second.text.find(waiver) != std::string::npos;
    if (file->second.line(one.line).find(waiver) != std::string_view::npos) return true;
    const std::string_view above = file->second.line(one.line - 1);
    const std::size_t first = above.find_first_not_of(' ');
    return first != std::string_view::npos && above.substr(first, 2) == "//" &&
           above.find(waiver) != std::string_view::npos;
  });
  return found;
}

std::vector<include> includes_of(const source_file& file) {
  std::vector<include> result;
  std::string_view rest = file.without_comments;
  for (std::size_t number = 1; !rest.empty(); ++number) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));

    const auto skip_spaces = [&line] {
      line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    };
    skip_spaces();
    if (!line.starts_with('#')) continue;
    line.remove_prefix(1);
    skip_spaces();
    if (!line.starts_with("include")) continue;
    line.remove_prefix(std::string_view("include").size());
    skip_spaces();
    if (line.empty() || (line[0] != '<' && line[0] != '"')) continue;
    const bool angled = line[0] == '<';
    const std::size_t close = line.find(angled ? '>' : '"', 1);
    result.push_back({number, std::string(line.substr(1, close - 1)), angled});
  }
  return result;
}

bool is_header(std::string_view path) { return path.ends_with(".hpp") || path.ends_with(".h"); }

bool is_cpp(std::string_view path) { return is_header(path) || path.ends_with(".cpp"); }

std::string layer_of(std::string_view path) {
  constexpr std::string_view root = "include/troupe/";
  if (!path.starts_with(root)) return {};
  path.remove_prefix(root.size());
  if (path == "version.hpp") return "config";
  const std::size_t slash = path.find('/');
  if (slash != std::string_view::npos) return std::string(path.substr(0, slash));
  return std::string(path.substr(0, path.rfind('.')));
}

bool is_word_at(std::string_view code, std::size_t position, std::string_view word) {
  if (code.substr(position, word.size()) != word) return false;
  const std::size_t end = position + word.size();
  const bool free_before = position == 0 || !is_identifier_char(code[position - 1]);
  const bool free_behind = end >= code.size() || !is_identifier_char(code[end]);
  return free_before && free_behind;
}

std::size_t find_word(std::string_view code, std::string_view word, std::size_t from) {
  std::size_t position = code.find(word, from);
  while (position != std::string_view::npos && !is_word_at(code, position, word)) {
    position = code.find(word, position + 1);
  }
  return position;
}

}  // namespace house
