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
