// SPDX-License-Identifier: MIT

// Every way to make, copy, move and drop an intrusive_ptr leaves the count right.

#include <troupe/base/intrusive_ptr.hpp>

#include "../support/catch.hpp"

#include <type_traits>
#include <utility>

namespace {

struct counted {
  int owners = 0;
  friend void add_ref(counted* object) noexcept { ++object->owners; }
  friend void release(counted* object) noexcept { --object->owners; }
};
struct derived : counted {};

using pointer = troupe::intrusive_ptr<counted>;

}  // namespace

static_assert(sizeof(pointer) == sizeof(void*));
static_assert(std::is_nothrow_move_constructible_v<pointer>);
static_assert(!std::is_convertible_v<counted*, pointer>, "counting is never a surprise");

TEST_CASE("copies count and moves do not", "[intrusive_ptr]") {
  counted object;
  {
    const pointer first(&object);
    CHECK(object.owners == 1);
    pointer second = first;
    CHECK(object.owners == 2);
    const pointer third = std::move(second);
    CHECK(object.owners == 2);
    CHECK_FALSE(second);
    CHECK(third == first);
  }
  CHECK(object.owners == 0);
}

TEST_CASE("an adopted reference is not counted again", "[intrusive_ptr]") {
  counted object{1};
  {
    const pointer owner(&object, troupe::adopt_ref);
  }
  CHECK(object.owners == 0);
}

TEST_CASE("a detached reference is owed by the caller", "[intrusive_ptr]") {
  counted object;
  pointer owner(&object);
  counted* const raw = owner.detach();
  CHECK(owner == nullptr);
  CHECK(object.owners == 1);
  release(raw);
}

TEST_CASE("assignment releases the old object, also to itself", "[intrusive_ptr]") {
  counted a;
  counted b;
  pointer owner(&a);
  owner = pointer(&b);
  CHECK(a.owners == 0);
  CHECK(b.owners == 1);
  const pointer& same = owner;
  owner = same;
  CHECK(b.owners == 1);
  owner.reset();
  CHECK(b.owners == 0);
}

TEST_CASE("a pointer to a derived class becomes one to its base", "[intrusive_ptr]") {
  derived object;
  troupe::intrusive_ptr<derived> owner(&object);
  const pointer base = owner;
  CHECK(object.owners == 2);
  const pointer moved = std::move(owner);
  CHECK(object.owners == 2);
}
