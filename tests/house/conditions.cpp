// SPDX-License-Identifier: MIT
// No `co_await` in the condition of if, while, for or switch: GCC 12 drops it, without a warning,
// from a coroutine whose body declares no variable. Nor in an arm of `?:`: it destroys the result
// twice. The await goes to a local of its own first.

#include "source_tree.hpp"

namespace house {
namespace {

// Position of the bracket that closes the one at `open`; npos if none does.
std::size_t closing(std::string_view code, std::size_t open, char opener, char closer) {
  std::size_t depth = 0;
  for (std::size_t i = open; i < code.size(); ++i) {
    if (code[i] == opener) ++depth;
    if (code[i] == closer && --depth == 0) return i;
  }
  return std::string_view::npos;
}

// A body with statements is a lambda's: what it awaits is no part of the condition around it.
std::string without_lambda_bodies(std::string condition) {
  for (std::size_t open = condition.find('{'); open != std::string::npos;
       open = condition.find('{', open + 1)) {
    const std::size_t close = closing(condition, open, '{', '}');
    if (close == std::string::npos) break;
    const std::size_t statement = condition.find(';', open);
    if (statement < close) condition.replace(open + 1, close - open - 1, close - open - 1, ' ');
  }
  return condition;
}

// Where the condition after the keyword ending at `from` opens; npos if none does.
std::size_t opening(std::string_view code, std::size_t from) {
  std::size_t next = code.find_first_not_of(" \n", from);
  constexpr std::string_view constant = "constexpr";
  if (next != std::string_view::npos && is_word_at(code, next, constant)) {
    next = code.find_first_not_of(" \n", next + constant.size());
  }
  const bool opens = next != std::string_view::npos && code[next] == '(';
  return opens ? next : std::string_view::npos;
}

void check_keyword(const std::string& path, const source_file& file, std::string_view keyword,
                   findings& found) {
  const std::string_view code = file.code;
  std::size_t position = find_word(code, keyword);
  for (; position != std::string_view::npos; position = find_word(code, keyword, position + 1)) {
    const std::size_t open = opening(code, position + keyword.size());
    if (open == std::string_view::npos) continue;
    const std::size_t close = closing(code, open, '(', ')');
    if (close == std::string_view::npos) continue;
    const std::string condition =
        without_lambda_bodies(std::string(code.substr(open + 1, close - open - 1)));
    if (find_word(condition, "co_await") == std::string::npos) continue;
    found.push_back({path, file.line_of(position),
                     "awaits in the condition of " + std::string(keyword) +
                         "; GCC 12 may skip it: await into a local first"});
  }
}

// Where the expression around the `?` at `from` ends: at the end of its statement or argument.
std::size_t end_of_choice(std::string_view code, std::size_t from) {
  std::size_t depth = 0;
  for (std::size_t i = from; i < code.size(); ++i) {
    const char c = code[i];
    if (c == '(' || c == '[' || c == '{') ++depth;
    if (depth == 0 && (c == ')' || c == ']' || c == '}' || c == ';' || c == ',')) return i;
    if (c == ')' || c == ']' || c == '}') --depth;
  }
  return code.size();
}

void check_choices(const std::string& path, const source_file& file, findings& found) {
  const std::string_view code = file.code;
  for (std::size_t at = code.find('?'); at != std::string_view::npos; at = code.find('?', at + 1)) {
    const std::size_t end = end_of_choice(code, at + 1);
    const std::string arms = without_lambda_bodies(std::string(code.substr(at + 1, end - at - 1)));
    if (find_word(arms, "co_await") == std::string::npos) continue;
    found.push_back({path, file.line_of(at),
                     "awaits in an arm of ?:; GCC 12 destroys what that gives twice: use if"});
  }
}

}  // namespace

findings check_conditions(const source_tree& tree) {
  findings found;
  for (const auto& [path, file] : tree) {
    if (!is_cpp(path)) continue;
    for (const std::string_view keyword : {"if", "while", "for", "switch"}) {
      check_keyword(path, file, keyword, found);
    }
    check_choices(path, file, found);
  }
  return found;
}

}  // namespace house
