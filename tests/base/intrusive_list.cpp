// SPDX-License-Identifier: MIT

// Both lists against what std::deque would hold, at the ends, in the middle and when spliced.

#include <troupe/base/intrusive_list.hpp>

#include "../support/catch.hpp"

#include <utility>
#include <vector>

namespace {

struct job {
  int id = 0;
  job* next = nullptr;
};
using queue = troupe::forward_queue<job, &job::next>;

std::vector<int> drain(queue& from) {
  std::vector<int> ids;
  while (const job* const popped = from.pop_front()) ids.push_back(popped->id);
  return ids;
}

struct element : troupe::list_hook {
  explicit element(int number) : id(number) {}
  int id;
};
using list = troupe::intrusive_list<element>;

std::vector<int> ids_of(list& of) {
  std::vector<int> ids;
  for (const element& e : of) ids.push_back(e.id);
  return ids;
}

using ids = std::vector<int>;

}  // namespace

TEST_CASE("a forward queue gives back what it got in order", "[forward_queue]") {
  job jobs[] = {{1}, {2}, {3}};
  queue q;
  CHECK(q.empty());
  CHECK(q.pop_front() == nullptr);
  for (job& j : jobs) q.push_back(j);
  CHECK(q.front().id == 1);
  CHECK(drain(q) == ids{1, 2, 3});
  CHECK(q.empty());
}

TEST_CASE("what is pushed to the front of a forward queue comes out first", "[forward_queue]") {
  job jobs[] = {{1}, {2}, {3}};
  queue q;
  q.push_front(jobs[0]);
  q.push_front(jobs[1]);
  q.push_back(jobs[2]);
  CHECK(drain(q) == ids{2, 1, 3});
}

TEST_CASE("appending moves all elements behind the own ones", "[forward_queue]") {
  job jobs[] = {{1}, {2}, {3}, {4}};
  queue a;
  queue b;
  a.append(std::move(b));
  CHECK(a.empty());
  b.push_back(jobs[0]);
  b.push_back(jobs[1]);
  a.append(std::move(b));
  CHECK(b.empty());
  b.push_back(jobs[2]);
  a.append(std::move(b));
  a.push_back(jobs[3]);
  CHECK(drain(a) == ids{1, 2, 3, 4});
}

TEST_CASE("one element is taken out of a forward queue, wherever it stands", "[forward_queue]") {
  job jobs[] = {{1}, {2}, {3}, {4}};
  queue q;
  const auto take = [&q](int id) {
    return q.take_first([id](const job& j) { return j.id == id; });
  };
  CHECK(take(1) == nullptr);
  for (job& j : jobs) q.push_back(j);
  CHECK(take(9) == nullptr);
  CHECK(take(2) == &jobs[1]);
  CHECK(take(4) == &jobs[3]);
  q.push_back(jobs[1]);
  CHECK(take(1) == &jobs[0]);
  q.push_back(jobs[3]);
  CHECK(drain(q) == ids{3, 2, 4});
  q.push_back(jobs[0]);
  CHECK(take(1) == &jobs[0]);
  CHECK(q.empty());
  q.push_back(jobs[2]);
  CHECK(drain(q) == ids{3});
}

TEST_CASE("a moved forward queue leaves an empty one behind", "[forward_queue]") {
  job jobs[] = {{1}, {2}};
  queue a;
  a.push_back(jobs[0]);
  queue b = std::move(a);
  CHECK(a.empty());
  a.push_back(jobs[1]);
  CHECK(drain(b) == ids{1});
  b = std::move(a);
  CHECK(drain(b) == ids{2});
}

TEST_CASE("an intrusive list keeps its order through both ends", "[intrusive_list]") {
  element one(1);
  element two(2);
  element three(3);
  list l;
  CHECK(l.empty());
  CHECK(l.pop_front() == nullptr);
  l.push_back(two);
  l.push_back(three);
  l.push_front(one);
  CHECK(ids_of(l) == ids{1, 2, 3});
  CHECK(&l.front() == &one);
  CHECK(l.pop_front() == &one);
  CHECK_FALSE(one.linked());
  CHECK(two.linked());
}

TEST_CASE("an element is removed from wherever it stands", "[intrusive_list]") {
  element one(1);
  element two(2);
  element three(3);
  list l;
  for (element* e : {&one, &two, &three}) l.push_back(*e);
  list::remove(two);
  CHECK(ids_of(l) == ids{1, 3});
  list::remove(three);
  list::remove(one);
  CHECK(l.empty());
  l.push_back(two);
  CHECK(ids_of(l) == ids{2});
}

TEST_CASE("an element is inserted before wherever another stands", "[intrusive_list]") {
  element one(1);
  element two(2);
  element three(3);
  element four(4);
  list l;
  l.push_back(three);
  l.insert(l.at(three), one);
  l.insert(l.at(three), two);
  l.insert(l.end(), four);
  CHECK(ids_of(l) == ids{1, 2, 3, 4});
}

TEST_CASE("an iterator survives the removal of elements it has passed", "[intrusive_list]") {
  element one(1);
  element two(2);
  element three(3);
  list l;
  for (element* e : {&one, &two, &three}) l.push_back(*e);
  for (auto at = l.begin(); at != l.end();) {
    element& e = *at++;
    if (e.id != 2) list::remove(e);
  }
  CHECK(ids_of(l) == ids{2});
}

TEST_CASE("a list appends another in constant time and order", "[intrusive_list]") {
  element one(1);
  element two(2);
  element three(3);
  list a;
  list b;
  a.append(b);
  CHECK(a.empty());
  b.push_back(two);
  b.push_back(three);
  a.push_back(one);
  a.append(b);
  CHECK(ids_of(a) == ids{1, 2, 3});
  CHECK(b.empty());
}

TEST_CASE("a list that dies lets its elements go", "[intrusive_list]") {
  element one(1);
  {
    list l;
    l.push_back(one);
  }
  CHECK_FALSE(one.linked());
}
