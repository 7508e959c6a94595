// SPDX-License-Identifier: MIT
// Names of operations. A compiler's own form of a function's signature differs from the next one's:
// only the name is kept.

#include <model/checker/sites.hpp>

#include <charconv>
#include <cstdlib>

namespace troupe::model {
namespace {

std::string function_name(std::string_view signature) {
  std::size_t depth = 0;
  std::size_t end = signature.size();
  for (std::size_t i = 0; i != signature.size(); ++i) {
    const char c = signature[i];
    if (c == '<') ++depth;
    if (c == '>' && depth != 0) --depth;
    if (c == '(' && depth == 0) {
      end = i;
      break;
    }
  }
  std::size_t begin = end;
  while (begin != 0) {
    const char c = signature[begin - 1];
    const bool is_name = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                         (c >= '0' && c <= '9') || c == '_' || c == '~';
    if (!is_name) break;
    --begin;
  }
  return std::string(signature.substr(begin, end - begin));
}

}  // namespace

std::string short_name(std::string_view path) {
  constexpr std::string_view folder = "include/";
  const std::size_t at = path.rfind("include/troupe/");
  if (at != std::string_view::npos) return std::string(path.substr(at + folder.size()));
  const std::size_t slash = path.rfind('/');
  return std::string(slash == std::string_view::npos ? path : path.substr(slash + 1));
}

std::string hex(std::uint64_t value) {
  char text[20] = "0x";
  char* const end = std::to_chars(text + 2, text + sizeof text, value, 16).ptr;
  return std::string(text, end);
}

std::uint32_t site_table::find(const place& at, const char* operation, std::memory_order order,
                               std::memory_order failure, bool is_load, bool is_store) {
  const char* const file = at.file_name();
  std::size_t i = (reinterpret_cast<std::uintptr_t>(file) >> 3) + at.line() * 31 + at.column() * 7;
  for (;; ++i) {
    slot& s = slots_[i % slot_count];
    if (s.file == file && s.line == at.line() && s.column == at.column()) {
      met_[s.index] = true;
      return s.index;
    }
    if (s.file != nullptr) continue;
    const std::uint32_t index = add(at, operation, order, failure, is_load, is_store);
    s = slot{file, at.line(), at.column(), index};
    met_[index] = true;
    return index;
  }
}

/// The same place may have several names, one in each translation unit.
std::uint32_t site_table::add(const place& at, const char* operation, std::memory_order order,
                              std::memory_order failure, bool is_load, bool is_store) {
  const std::string file = short_name(at.file_name());
  for (std::size_t i = 0; i != sites_.size(); ++i) {
    const site& s = sites_[i];
    if (s.line == at.line() && s.column == at.column() && s.file == file) {
      return static_cast<std::uint32_t>(i);
    }
  }
  if (sites_.size() == slot_count / 4) std::abort();
  site s;
  s.file = file;
  s.function = function_name(at.function_name());
  s.line = at.line();
  s.column = at.column();
  s.operation = operation;
  s.is_load = is_load;
  s.is_store = is_store;
  s.order = order;
  s.failure = failure;
  sites_.push_back(s);
  met_.push_back(false);
  return static_cast<std::uint32_t>(sites_.size() - 1);
}

}  // namespace troupe::model
