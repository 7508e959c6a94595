// SPDX-License-Identifier: MIT
#include <iostream>
#include <vector>

#include <troupe/adapter/json/json.hpp>

int main() { std::cout << troupe::to_json(std::vector<int>{1, 2}).dump() << '\n'; }
