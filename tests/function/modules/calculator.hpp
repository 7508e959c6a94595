// SPDX-License-Identifier: MIT
#pragma once

// The module that most tests use, in two versions that differ by a macro.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <troupe.hpp>
#include <troupe/function/module.hpp>
#include <vector>

struct shopping {
  std::string what;
  std::vector<std::int32_t> how_many;
  std::optional<std::string> note;
};

struct calculator {
  double mean(double a, double b) { return (a + b) / CALCULATOR_DIVISOR; }
  double add(double a, double b) {
    ++calls_;
    return a + b;
  }
  int count() const { return calls_; }
  void note(int number) { notes_.push_back(number); }
  std::vector<std::int32_t> notes() const { return notes_; }
  std::string hello(std::string_view name) { return "Hello " + std::string(name); }
  std::vector<std::byte> echo(std::vector<std::byte> bytes) { return bytes; }
  std::string echo_text(std::string text) { return text; }
  bool echo_flag(bool flag) { return flag; }
  std::int64_t echo_number(std::int64_t number) { return number; }
  std::optional<int> echo_maybe(std::optional<int> maybe) { return maybe; }
  shopping buy(shopping list) {
    list.how_many.push_back(1);
    return list;
  }
  std::string who(troupe::caller from) {
    return std::string(from.type()) + "/" + std::string(from.key());
  }
  troupe::task<std::string> who_later() {
    const troupe::caller from = co_await troupe::this_task::caller();
    co_return std::string(from.type());
  }
  void throw_range() { throw std::out_of_range("index 7"); }
  void throw_number() { throw 7; }
  void throw_error() {
    throw troupe::error(troupe::errc::refused, troupe::worker_id(), "not today");
  }
  troupe::task<int> sleep(int milliseconds) {
    co_await troupe::sleep_for(std::chrono::milliseconds(milliseconds));
    co_return milliseconds;
  }
  troupe::task<> until_stopped() {
    for (;;) co_await troupe::sleep_for(std::chrono::hours(1));
  }
  troupe::task<int> on_a_thread(int a) {
    auto work = [a] { return a + 1; };
    auto done = troupe::offload(std::move(work));
    co_return co_await std::move(done);
  }
  void nothing() {}

private:
  int calls_ = 0;
  std::vector<std::int32_t> notes_;
};
TROUPE_METHODS(calculator, mean, add, count, note, notes, hello, echo, echo_text, echo_flag,
               echo_number, echo_maybe, buy, who, who_later, throw_range, throw_number, throw_error,
               sleep, until_stopped, on_a_thread, nothing)
