# SPDX-License-Identifier: MIT
# The traces of `program` are the same in another process, whose addresses differ, and in a program
# that another compiler has made, where there is one.

function(traces_of file result)
  execute_process(COMMAND ${file} OUTPUT_VARIABLE output RESULT_VARIABLE code)
  if(NOT code EQUAL 0 OR output STREQUAL "")
    message(FATAL_ERROR "${file} ended with ${code} and printed '${output}'")
  endif()
  set(${result} "${output}" PARENT_SCOPE)
endfunction()

traces_of(${program} first)
traces_of(${program} second)
if(NOT first STREQUAL second)
  message(FATAL_ERROR "two processes, two traces:\n${first}\n${second}")
endif()

get_filename_component(own ${compiler} NAME)
foreach(other IN ITEMS g++ clang++-19 clang++)
  find_program(found_${other} ${other})
  if(NOT found_${other} OR own STREQUAL other)
    continue()
  endif()
  set(built ${program}_${other})
  execute_process(
    COMMAND ${found_${other}} -std=c++20 -O1 -pthread -I${source_dir}/include
      ${source_dir}/tests/sim/print_traces.cpp -o ${built}
    RESULT_VARIABLE code ERROR_VARIABLE errors)
  if(NOT code EQUAL 0)
    message(STATUS "left out ${other}: it does not build here: ${errors}")
    continue()
  endif()
  traces_of(${built} theirs)
  if(NOT first STREQUAL theirs)
    message(FATAL_ERROR "${other} gives other traces:\n${first}\n${theirs}")
  endif()
  message(STATUS "the same with ${other}")
endforeach()
