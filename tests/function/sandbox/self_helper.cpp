// SPDX-License-Identifier: MIT
// A program that is the helper of its own sandbox: the first line of its main does it.

#include <cstdio>
#include <string>

#include <troupe/function/sandbox_main.hpp>

#include "subject.hpp"

namespace {

int failures = 0;

void expect(const std::string& what, const std::string& is, const std::string& wanted) {
  if (is == wanted) return;
  ++failures;
  std::fprintf(stderr, "%s: %s, not %s\n", what.c_str(), is.c_str(), wanted.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  troupe::sandbox_main(argc, argv);
  troupe::detail::process_launcher launcher;
  std::printf("%s\n", troupe::to_string(launcher.level()).c_str());
  subject::running m("subject", {}, launcher);
  expect("echo", m.ask("echo", "hello"), "value: hello");
  expect("a megabyte", std::to_string(m.ask("echo", std::string(1 << 20, 'x')).size()), "1048583");
  expect("descriptors", m.ask("descriptors"), "value: 0 1 2 3 ");
  expect("environment", m.ask("environment"), "value: ");
  expect("crash", m.ask("crash"), "worker crashed: its process was killed by SIGSEGV");
  return failures == 0 ? 0 : 1;
}
