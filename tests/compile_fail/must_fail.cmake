# SPDX-License-Identifier: MIT
# cmake -D compiler=... -D precompiled=... -D include=... -D case=... -P must_fail.cmake
#
# Compiles `case` and wants it refused with every message its leading `// expect: ` lines name. Where
# the file has a part in `#ifdef CORRECT`, it must compile with that macro: then it is the fault
# shown, and nothing else, that is refused.
set(command ${compiler} -std=c++20 -pthread -fsyntax-only -fdiagnostics-color=never
  -I${precompiled} -I${include})
set(needs_c_locale ${CMAKE_COMMAND} -E env LC_ALL=C)

file(STRINGS ${case} expected_lines REGEX "^// expect: ")
if(NOT expected_lines)
  message(FATAL_ERROR "${case} has no line '// expect: ...'")
endif()
execute_process(COMMAND ${needs_c_locale} ${command} ${case}
  OUTPUT_VARIABLE said ERROR_VARIABLE said RESULT_VARIABLE code)
if(code EQUAL 0)
  message(FATAL_ERROR "${case} compiles, and must not")
endif()
foreach(line IN LISTS expected_lines)
  string(REGEX REPLACE "^// expect: " "" expected "${line}")
  string(FIND "${said}" "${expected}" position)
  if(position EQUAL -1)
    message(FATAL_ERROR "${case} is refused without saying '${expected}':\n${said}")
  endif()
endforeach()

file(STRINGS ${case} correct_part REGEX "^#ifdef CORRECT|^#ifndef CORRECT")
if(correct_part)
  execute_process(COMMAND ${needs_c_locale} ${command} -DCORRECT ${case}
    ERROR_VARIABLE said RESULT_VARIABLE code)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "${case} does not compile with CORRECT either:\n${said}")
  endif()
endif()
