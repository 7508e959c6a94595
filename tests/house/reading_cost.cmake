# SPDX-License-Identifier: MIT
# cmake -D compiler=... -D include=... -D work=... -P reading_cost.cmake
#
# What it costs to include troupe.hpp, against the standard headers that it includes. Time is not
# asserted: GCC says how much memory a unit has taken, which grows with time, and is the same in
# each run. docs/compilers.md says how to keep it low. GCC only.
set(limit 195)  # percent

file(GLOB_RECURSE headers ${include}/troupe/*.hpp)
list(FILTER headers EXCLUDE REGEX "/troupe/(adapter|function)/")
set(standard "")
foreach(header IN LISTS headers)
  file(STRINGS ${header} lines REGEX "^#include <[a-z_]+>$")
  list(APPEND standard ${lines})
endforeach()
list(REMOVE_DUPLICATES standard)
list(JOIN standard "\n" standard)
file(WRITE ${work}/reads_standard.cpp "${standard}\n")
file(WRITE ${work}/reads_troupe.cpp "#include <troupe.hpp>\n")

# Sets `out` to kilobytes.
function(measure out unit)
  execute_process(
    COMMAND ${compiler} -std=c++20 -I${include} -fsyntax-only -ftime-report ${work}/${unit}.cpp
    RESULT_VARIABLE code ERROR_VARIABLE said)
  if(NOT code EQUAL 0 OR NOT said MATCHES "TOTAL[^\n]* ([0-9]+)([kM]) *(\n|$)")
    message(FATAL_ERROR "${unit}: no total in what the compiler says:\n${said}")
  endif()
  set(amount ${CMAKE_MATCH_1})
  if(CMAKE_MATCH_2 STREQUAL "M")
    math(EXPR amount "${amount} * 1024")
  endif()
  set(${out} ${amount} PARENT_SCOPE)
endfunction()

measure(standard_cost reads_standard)
measure(troupe_cost reads_troupe)
math(EXPR percent "100 * ${troupe_cost} / ${standard_cost}")
message("standard headers: ${standard_cost} kB, troupe.hpp: ${troupe_cost} kB, ${percent} %")
if(percent GREATER limit)
  message(FATAL_ERROR "troupe.hpp takes ${percent} % of its standard headers, more than ${limit} %")
endif()
