// SPDX-License-Identifier: MIT

// The main function of every test program. Catch2 3 has one in a library or gives it here as a
// session; Catch2 2 generates it from a macro.

#if __has_include(<catch2/catch_session.hpp>)

#  include <catch2/catch_session.hpp>

int main(int argc, char* argv[]) { return Catch::Session().run(argc, argv); }

#else

#  define CATCH_CONFIG_MAIN
#  include <catch2/catch.hpp>

#endif

#include <troupe/config.hpp>

#if TROUPE_TSAN

// The count in a std::exception_ptr is atomic, but inside a library that ThreadSanitizer does not
// see into: it takes the last owner's deletion for a race with the looks of the others.
extern "C" const char* __tsan_default_suppressions() {
  return "race:std::__exception_ptr::exception_ptr::_M_release\n";
}

#endif
