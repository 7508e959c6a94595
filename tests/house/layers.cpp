// SPDX-License-Identifier: MIT
// Folders are the architecture: which layer may include which, and no cycles among the headers.

#include <algorithm>
#include <set>

#include "source_tree.hpp"

namespace house {
namespace {

struct layer {
  std::string_view name;
  std::vector<std::string_view> directly_below;
};

// The one place, beside the design, that knows the arrows. `fwd` holds declarations alone, so
// everybody may include it.
const std::vector<layer>& layers() {
  static const std::vector<layer> all{
      {"config", {}},
      {"fwd", {"config"}},
      {"base", {"config", "fwd"}},
      {"sync", {"base"}},
      {"time", {"base"}},
      {"codec", {"base"}},
      {"coro", {"sync", "time", "codec"}},
      {"exec", {"coro"}},
      {"actor", {"exec"}},
      {"broker", {"actor"}},
      {"net", {"exec", "codec"}},
      {"remote", {"broker", "net"}},
      {"gateway", {"broker", "net", "remote"}},
      {"function", {"broker", "net", "remote"}},
      {"job", {"broker", "net", "remote", "function"}},
      {"adapter", {"gateway", "function", "job"}},
  };
  return all;
}

const layer* find_layer(std::string_view name) {
  const auto found = std::ranges::find(layers(), name, &layer::name);
  return found == layers().end() ? nullptr : &*found;
}

bool may_include(std::string_view from, std::string_view to) {
  if (from == to) return true;
  const layer* source = find_layer(from);
  if (source == nullptr) return false;
  return std::ranges::any_of(source->directly_below,
                             [&](std::string_view below) { return may_include(below, to); });
}

bool is_platform_include(std::string_view target) {
  static constexpr std::string_view folders[] = {"sys/", "linux/", "netinet/", "arpa/", "mach/"};
  return std::ranges::any_of(folders, [&](auto folder) { return target.starts_with(folder); });
}

void check_include(const source_tree& tree, const std::string& path, const include& edge,
                   findings& found) {
  const std::string from = layer_of(path);
  if (!edge.angled) {
    found.push_back(
        {path, edge.line,
         "\"" + edge.target + "\" is included in quotes; own headers are written <troupe/...>"});
    return;
  }
  if (!edge.target.starts_with("troupe/") && edge.target != "troupe.hpp") {
    const bool foreign = edge.target.find('/') != std::string::npos;
    if (foreign && !is_platform_include(edge.target) && from != "adapter") {
      found.push_back({path, edge.line,
                       "<" + edge.target + "> is third-party code; only adapter/ may include it"});
    }
    return;
  }
  const std::string target_path = "include/" + edge.target;
  if (!tree.contains(target_path)) {
    found.push_back({path, edge.line, "<" + edge.target + "> does not exist"});
    return;
  }
  const std::string to = layer_of(target_path);
  const bool names_everything = to.empty() || from.empty();
  if (edge.target == "troupe.hpp") {
    if (from != "adapter" && from != "function") {
      found.push_back(
          {path, edge.line, "<troupe.hpp> is for users; include the headers that are needed"});
    }
  } else if (!names_everything && !may_include(from, to)) {
    found.push_back({path, edge.line,
                     "layer " + from + " must not include layer " + to + " (<" + edge.target +
                         ">); move what is needed below both, or pass it in from above"});
  }
}

class cycle_search {
public:
  cycle_search(const source_tree& tree, findings& found) : tree_(tree), found_(found) {}

  void visit(const std::string& path) {
    if (finished_.contains(path)) return;
    const auto again = std::ranges::find(chain_, path);
    if (again != chain_.end()) {
      std::string message = "includes go in a circle:";
      for (auto step = again; step != chain_.end(); ++step) message += " " + *step + " ->";
      found_.push_back({path, 0, message + " " + path});
      return;
    }
    chain_.push_back(path);
    for (const include& edge : includes_of(tree_.at(path))) {
      const std::string target = "include/" + edge.target;
      if (tree_.contains(target)) visit(target);
    }
    chain_.pop_back();
    finished_.insert(path);
  }

private:
  const source_tree& tree_;
  findings& found_;
  std::vector<std::string> chain_;
  std::set<std::string> finished_;
};

}  // namespace

findings check_layers(const source_tree& tree) {
  findings found;
  cycle_search cycles(tree, found);
  for (const auto& [path, file] : tree) {
    if (!path.starts_with("include/") || !is_header(path)) continue;
    const std::string own = layer_of(path);
    if (!own.empty() && find_layer(own) == nullptr) {
      found.push_back({path, 0, "layer " + own + " is unknown; tests/house/layers.cpp lists them"});
      continue;
    }
    for (const include& edge : includes_of(file)) check_include(tree, path, edge, found);
    cycles.visit(path);
  }
  return found;
}

}  // namespace house
