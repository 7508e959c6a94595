// SPDX-License-Identifier: MIT
// What a script may say of itself, and what is taken where it does not.

#include <catch2/catch.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include <troupe/job/script.hpp>

namespace script_tests {
namespace {

struct plain {
  using params = int;
  using result = int;
  int operator()(int p) { return p; }
};
struct tells_progress : plain {
  using progress = int;
};
struct tells_output : plain {
  using output = std::uint8_t;
};
struct tells_both : plain {
  using progress = int;
  using output = std::uint8_t;
  static constexpr std::string_view name = "both";
  static constexpr std::uint32_t version = 3;
  static constexpr bool blocking = true;
};

template <class S, class Progress, class Output>
constexpr bool tells =
    std::is_same_v<typename troupe::detail::script_telling<S>::progress, Progress> &&
    std::is_same_v<typename troupe::detail::script_telling<S>::output, Output>;
static_assert(tells<plain, double, std::string>);
static_assert(tells<tells_progress, int, std::string>);
static_assert(tells<tells_output, double, std::uint8_t>);
static_assert(tells<tells_both, int, std::uint8_t>);

TEST_CASE("a script says what it is called, or its class does", "[script]") {
  CHECK(troupe::script_name<tells_both>() == "both");
  CHECK(troupe::script_version<tells_both>() == 3);
  CHECK(troupe::detail::script_blocks<tells_both>());
  CHECK(troupe::script_name<plain>() == troupe::type_name<plain>());
  CHECK(troupe::script_version<plain>() == 1);
  CHECK_FALSE(troupe::detail::script_blocks<plain>());
}

}  // namespace
}  // namespace script_tests
