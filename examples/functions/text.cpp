// SPDX-License-Identifier: MIT
// Text and containers as they are; and a function that throws.

#include <algorithm>
#include <cctype>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>

#include <troupe.hpp>
#include <troupe/function/module.hpp>

struct text {
  std::map<std::string, int> count(const std::string& words) {
    if (words.empty()) throw std::invalid_argument("there is nothing to count");
    std::istringstream in(words);
    std::map<std::string, int> counts;
    for (std::string word; in >> word;) ++counts[word];
    return counts;
  }
  std::string reverse(std::string words) {
    std::reverse(words.begin(), words.end());
    return words;
  }
};
TROUPE_METHODS(text, count, reverse)
TROUPE_MODULE(text, "v1.0.0");
