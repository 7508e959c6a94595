# SPDX-License-Identifier: MIT
# cmake -D program=... [-D arguments=...] -D expected=... -P run_and_compare.cmake
#
# Runs `program` and compares what it prints with the file `expected`. There, <...> stands for any
# text within a line (a duration, a thread number).
execute_process(COMMAND ${program} ${arguments}
  OUTPUT_VARIABLE printed ERROR_VARIABLE complaints RESULT_VARIABLE code)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "${program} ended with ${code}\n${printed}\n${complaints}")
endif()
file(READ ${expected} wanted)
string(REGEX REPLACE "([][+.*()^$?|\\\\])" "\\\\\\1" pattern "${wanted}")
string(REPLACE "<\\.\\.\\.>" "[^\n]*" pattern "${pattern}")
if(NOT printed MATCHES "^${pattern}$")
  message(FATAL_ERROR "${program} printed\n${printed}\nwhere ${expected} says\n${wanted}")
endif()
