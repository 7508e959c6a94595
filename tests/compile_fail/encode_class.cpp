// SPDX-License-Identifier: MIT
// expect: troupe: this class cannot be encoded: it is no aggregate
// Private state is the business of its class: it says how it travels.
#include <troupe.hpp>

class money {
public:
  long long cents() const { return cents_; }

private:
  long long cents_ = 0;
};
#ifdef CORRECT
template <>
struct troupe::codec<money> {
  using wire = long long;
  static wire to_wire(const money& m) { return m.cents(); }
  static money from_wire(wire) { return {}; }
};
#endif

auto f(const money& m) { return troupe::encode(m); }
