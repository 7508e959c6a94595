// SPDX-License-Identifier: MIT
// troupe.hpp reaches every header, except those that need more than the standard library.

#include <set>

#include "source_tree.hpp"

namespace house {
namespace {

void reach(const source_tree& tree, const std::string& path, std::set<std::string>& reached) {
  const auto file = tree.find(path);
  if (file == tree.end() || !reached.insert(path).second) return;
  for (const include& edge : includes_of(file->second)) {
    reach(tree, "include/" + edge.target, reached);
  }
}

}  // namespace

findings check_umbrella(const source_tree& tree) {
  constexpr std::string_view umbrella = "include/troupe.hpp";
  findings found;
  if (!tree.contains(std::string(umbrella))) {
    found.push_back({std::string(umbrella), 0, "does not exist"});
    return found;
  }
  std::set<std::string> reached;
  reach(tree, std::string(umbrella), reached);
  for (const auto& [path, file] : tree) {
    if (!path.starts_with("include/troupe/") || !is_header(path)) continue;
    const std::string layer = layer_of(path);
    const bool is_apart = layer == "function" || layer == "gateway" || layer == "net" ||
                          layer == "job" || layer == "adapter";
    if (is_apart && reached.contains(path)) {
      found.push_back({path, 0, "is reached from troupe.hpp; users include it by its own header"});
    }
    if (!is_apart && !reached.contains(path)) {
      found.push_back(
          {path, 0, "is not reached from troupe.hpp; include it there or in its layer"});
    }
  }
  return found;
}

}  // namespace house
