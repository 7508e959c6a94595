// SPDX-License-Identifier: MIT
// The weakenings that no model can tell from the code as it is, each with its reason.

#include <model/checker/mutations.hpp>

namespace troupe::model {

constexpr const char* supervisor_is_plain =
    "It carries the plain members of a supervisor that another thread has made for its monitor, "
    "and "
    "the checker watches no plain members of the library.";

const std::vector<explanation>& explanations() {
  static const std::vector<explanation> all{
      {"troupe/sync/chase_lev_deque.hpp", "push", "load", "relaxed",
       "With claim it keeps a thief's look at a slot before the owner's next write to it. Without "
       "it "
       "the look would read what is written later: load buffering, which the checker does not "
       "try."},
      {"troupe/sync/chase_lev_deque.hpp", "claim", "compare_exchange",
       "acq_rel acquire release relaxed",
       "The loads of top_ in pop and steal are seq_cst, and of two such loads the one that reads "
       "the "
       "older value comes first, since C++20, whatever wrote the newer. The paper's proof and "
       "C++17 "
       "want the write to be seq_cst too. Its release half guards against load buffering."},
      {"troupe/actor/turn.hpp", "make_ready", "compare_exchange", "release",
       "It carries the plain members of the turn from who parked it to who serves it next, and the "
       "checker watches no plain members of the library. What the turn's own code has written "
       "comes "
       "through the acquire in take_ready as well."},
      {"troupe/actor/cell_mailbox.hpp", "take_out", "load", "relaxed",
       "It carries the plain members of the cell in the place of an abandoned one, and the checker "
       "watches no plain members of the library."},
      {"troupe/actor/cell_supervision.hpp", "notify", "load", "relaxed", supervisor_is_plain},
      {"troupe/actor/cell_supervision.hpp", "has_to_rest", "load", "relaxed", supervisor_is_plain},
      {"troupe/actor/cell_supervision.hpp", "wake_from_rest", "load", "relaxed",
       supervisor_is_plain}};
  return all;
}

}  // namespace troupe::model
