# SPDX-License-Identifier: MIT
# cmake -D compiler=... -D nm=... -D include=... -D unit=... -P nothing_emitted.cmake
#
# What includes a header and uses nothing of it pays for reading it only. GCC writes the table of a
# class, and all that it leads to, into every such object where a virtual function is declared
# without `inline` in the class and defined with it below: such a declaration says `inline` as well.
set(object ${unit}.o)
execute_process(COMMAND ${compiler} -std=c++20 -O1 -pthread -I${include} -c ${unit} -o ${object}
  RESULT_VARIABLE code ERROR_VARIABLE said)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "${unit} does not compile:\n${said}")
endif()
execute_process(COMMAND ${nm} -C --defined-only ${object}
  RESULT_VARIABLE code OUTPUT_VARIABLE symbols ERROR_VARIABLE said)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "${nm} fails: ${said}")
endif()
if(NOT symbols STREQUAL "")
  message(FATAL_ERROR "a unit that uses nothing defines\n${symbols}")
endif()
