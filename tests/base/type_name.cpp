// SPDX-License-Identifier: MIT

// The names that go on the wire are the same with every compiler; the others are only readable.

#include <troupe/base/type_name.hpp>

#include "../support/catch.hpp"

#include <string>
#include <string_view>

namespace office {

struct account {
  int deposit(int amount) { return amount; }
  int balance() const noexcept { return 0; }
  void over(int) {}
  void over(double) {}
  std::string label(std::string text, int (*)(int)) { return text; }
  template <class T>
  T get() {
    return T();
  }
  bool operator()(int) { return true; }
  static int count() { return 0; }
  int field = 0;
};
class teller {};
enum class colour { red };
union either {};

namespace inner {
template <class T>
struct box {
  void open() {}
};
}  // namespace inner

int open_branch() { return 1; }

}  // namespace office

struct type_name_global {
  void ping() {}
};

using troupe::member_name;
using troupe::type_name;

static_assert(type_name<office::account>() == "office::account");
static_assert(type_name<office::teller>() == "office::teller");
static_assert(type_name<office::colour>() == "office::colour");
static_assert(type_name<office::either>() == "office::either");
static_assert(type_name<type_name_global>() == "type_name_global");
static_assert(type_name<int>() == "int");
static_assert(type_name<double>() == "double");

static_assert(member_name<&office::account::deposit>() == "deposit");
static_assert(member_name<&office::account::balance>() == "balance");
static_assert(member_name<&office::account::label>() == "label");
static_assert(member_name<&office::account::count>() == "count");
static_assert(member_name<&office::account::field>() == "field");
static_assert(member_name<&office::account::operator()>() == "operator()");
static_assert(member_name<&office::inner::box<office::inner::box<int>>::open>() == "open");
static_assert(member_name<&office::open_branch>() == "open_branch");
static_assert(member_name<&type_name_global::ping>() == "ping");
static_assert(member_name<office::colour::red>() == "red");
static_assert(member_name<static_cast<void (office::account::*)(int)>(&office::account::over)>() ==
              "over");
static_assert(member_name<&office::account::get<int>>().starts_with("get"));

// The form MSVC writes, which no compiler here produces.
static_assert(troupe::detail::unqualified("public: int __cdecl account::deposit(a::b<c>)") ==
              "deposit");
static_assert(troupe::detail::drop_class_key("struct office::account") == "office::account");
static_assert(troupe::detail::value_argument(
                  "const char *__cdecl detail::value_signature<&office::open>(void) noexcept") ==
              "&office::open");

namespace {
struct hidden {
  void method() {}
};
}  // namespace

TEST_CASE("names without linkage are still readable", "[type_name]") {
  struct local {};
  CHECK(type_name<local>().find("local") != std::string_view::npos);
  CHECK(type_name<hidden>().find("hidden") != std::string_view::npos);
  CHECK(member_name<&hidden::method>() == "method");
}

TEST_CASE("a class template's name contains its arguments", "[type_name]") {
  const std::string_view name = type_name<office::inner::box<office::account>>();
  CHECK(name.find("office::inner::box<") == 0);
  CHECK(name.find("office::account") != std::string_view::npos);
}
