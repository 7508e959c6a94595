// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The proof that the models see what they are made to see: every memory order in the code that
/// they exercise is weakened in turn, and some model has to fail.

#include <cstdint>
#include <string_view>
#include <vector>

#include <model/checker/checker.hpp>

namespace troupe::model {

/// A weakening that no model can tell from the code as it is, and why.
struct explanation {
  std::string_view file;
  std::string_view function;
  std::string_view operation;  // with `, failure` where the second order is meant
  std::string_view to;         // the weaker orders, separated by blanks
  std::string_view why;
};

/// All of them; docs/model_checking.md shows the same table.
const std::vector<explanation>& explanations();

/// Prints each weakening and who caught it. False if one was caught by nobody and is not explained,
/// or, with all models at hand, an explanation does not hold.
bool check_mutations(const std::vector<const scenario*>& models, bool all, bool show,
                     std::uint64_t times);

}  // namespace troupe::model
