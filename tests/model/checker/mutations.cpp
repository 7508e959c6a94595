// SPDX-License-Identifier: MIT
// Weakens one order of one operation after the other, at run time.

#include <model/checker/mutations.hpp>

#include <algorithm>
#include <cstdio>
#include <string>

namespace troupe::model {
namespace {

struct mutant {
  weakening change;
  std::memory_order from = std::memory_order_relaxed;
};

/// All orders that are weaker and that the operation may have, the strongest first.
std::vector<std::memory_order> weaker_orders(std::memory_order from, bool loads, bool stores) {
  std::vector<std::memory_order> weaker;
  const auto add = [&](std::memory_order o) {
    if (o != from) weaker.push_back(o);
  };
  if (from == std::memory_order_relaxed) return weaker;
  const bool both = from == std::memory_order_seq_cst || from == std::memory_order_acq_rel;
  if (loads && stores && from == std::memory_order_seq_cst) add(std::memory_order_acq_rel);
  if (loads && both) add(std::memory_order_acquire);
  if (stores && both) add(std::memory_order_release);
  add(std::memory_order_relaxed);
  return weaker;
}

std::vector<mutant> mutants_of(const site& s, std::uint32_t index) {
  std::vector<mutant> all;
  for (const std::memory_order to : weaker_orders(s.order, s.is_load, s.is_store)) {
    all.push_back({{index, false, to}, s.order});
  }
  if (s.operation != "compare_exchange") return all;
  for (const std::memory_order to : weaker_orders(s.failure, true, false)) {
    all.push_back({{index, true, to}, s.failure});
  }
  return all;
}

struct model_of_sites {
  const scenario* model;
  std::set<std::uint32_t> meets;
};

std::string_view group_of(std::string_view name) { return name.substr(0, name.find('.')); }

/// The models made for a file come first: `parker.*` for `sync/parker.hpp`.
bool made_for(const scenario& m, const site& s) {
  return s.file.find(std::string(group_of(m.name)) + ".hpp") != std::string::npos;
}

struct catcher {
  const scenario* model = nullptr;
  std::uint64_t executions = 0;
  std::string failure;
};

/// Few executions in every model first, then more.
catcher who_catches(const mutant& m, const std::vector<const model_of_sites*>& candidates,
                    std::uint64_t times) {
  struct effort {
    std::uint64_t draws;
    std::uint64_t searches;
  };
  static constexpr effort efforts[] = {{500, 500}, {6'000, 20'000}};
  catcher none;
  for (const effort& e : efforts) {
    for (const model_of_sites* c : candidates) {
      limits bounds = c->model->bounds;
      const std::uint64_t draws = e.draws * times;
      verdict v = draw(c->model->body, bounds, 1, draws, &m.change);
      none.executions += v.executions;
      if (!v.failed()) {
        bounds.executions = std::min(bounds.executions, e.searches * times);
        v = search(c->model->body, bounds, &m.change);
        none.executions += v.executions;
      }
      if (v.failed()) return {c->model, none.executions, v.failure};
    }
  }
  return none;
}

std::string operation_of(const mutant& m, const site& s) {
  return m.change.of_failure ? s.operation + ", failure" : s.operation;
}

bool names(std::string_view list, std::string_view word) {
  const std::size_t at = list.find(word);
  if (at == std::string_view::npos) return false;
  const std::size_t end = at + word.size();
  return (at == 0 || list[at - 1] == ' ') && (end == list.size() || list[end] == ' ');
}

const explanation* explained(const mutant& m, const site& s) {
  for (const explanation& e : explanations()) {
    if (e.file == s.file && e.function == s.function && e.operation == operation_of(m, s) &&
        names(e.to, name_of(m.change.to))) {
      return &e;
    }
  }
  return nullptr;
}

void print(const mutant& m, const site& s, const std::string& result) {
  std::printf("%s:%u %s: %s %s -> %s: %s\n", s.file.c_str(), s.line, s.function.c_str(),
              operation_of(m, s).c_str(), name_of(m.from).data(), name_of(m.change.to).data(),
              result.c_str());
  std::fflush(stdout);
}

}  // namespace

bool check_mutations(const std::vector<const scenario*>& models, bool all, bool show,
                     std::uint64_t times) {
  std::vector<model_of_sites> known;
  std::set<std::uint32_t> met;
  for (const scenario* m : models) {
    known.push_back({m, sites_of(*m)});
    met.insert(known.back().meets.begin(), known.back().meets.end());
  }
  const std::vector<site> table = sites();
  std::vector<std::pair<std::string, std::uint32_t>> in_order;
  for (const std::uint32_t i : met) {
    if (table[i].file.starts_with("troupe/")) {
      in_order.emplace_back(table[i].file + ":" + std::to_string(100'000 + table[i].line), i);
    }
  }
  std::sort(in_order.begin(), in_order.end());

  unsigned caught = 0;
  unsigned excused = 0;
  unsigned missed = 0;
  std::set<const explanation*> used;
  for (const auto& [name, i] : in_order) {
    const site& s = table[i];
    std::vector<const model_of_sites*> candidates;
    for (const bool first : {true, false}) {
      for (const model_of_sites& k : known) {
        if (k.meets.contains(i) && made_for(*k.model, s) == first) candidates.push_back(&k);
      }
    }
    for (const mutant& m : mutants_of(s, i)) {
      const explanation* const why = explained(m, s);
      const catcher c = who_catches(m, candidates, times);
      if (c.model != nullptr) {
        ++caught;
        if (show) {
          print(m, s,
                "caught by " + std::string(c.model->name) + " after " +
                    std::to_string(c.executions) + ": " + c.failure);
        }
      } else if (why != nullptr) {
        ++excused;
        used.insert(why);
        if (show) print(m, s, "not caught: " + std::string(why->why));
      } else {
        ++missed;
        print(m, s,
              "NOT CAUGHT in " + std::to_string(c.executions) + " executions of " +
                  std::to_string(candidates.size()) + " models");
      }
    }
  }
  if (all) {
    for (const explanation& e : explanations()) {
      if (used.contains(&e)) continue;
      ++missed;
      std::printf("NOTHING TO EXPLAIN: %s %s: %s -> %s\n", std::string(e.file).c_str(),
                  std::string(e.function).c_str(), std::string(e.operation).c_str(),
                  std::string(e.to).c_str());
    }
  }
  std::printf("%u weakened orders caught, %u explained, %u missed\n", caught, excused, missed);
  return missed == 0;
}

}  // namespace troupe::model
