# SPDX-License-Identifier: MIT
# The functions of the precompiled header, compiled once as well: whatever a test makes a compiler
# emit of a header-only library is most of what compiling that test costs. Clang can leave them to
# one object for all programs; with another compiler the target below is empty.
add_library(troupe_test_precompiled_functions INTERFACE)

if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang" OR CMAKE_CXX_COMPILER_VERSION VERSION_LESS 12
    OR NOT CMAKE_GENERATOR MATCHES "Ninja|Makefiles" OR NOT CMAKE_BUILD_TYPE)
  return()
endif()

target_compile_options(troupe_test_precompiled PRIVATE -fpch-codegen)
set(header ${CMAKE_CURRENT_BINARY_DIR}/CMakeFiles/troupe_test_precompiled.dir/cmake_pch.hxx.pch)
set(functions ${CMAKE_CURRENT_BINARY_DIR}/precompiled_functions${CMAKE_CXX_OUTPUT_EXTENSION})
string(TOUPPER ${CMAKE_BUILD_TYPE} build_type)
separate_arguments(flags NATIVE_COMMAND "${CMAKE_CXX_FLAGS} ${CMAKE_CXX_FLAGS_${build_type}}")
add_custom_command(OUTPUT ${functions}
  COMMAND ${CMAKE_CXX_COMPILER} ${flags}
    "$<TARGET_PROPERTY:troupe_test_precompiled,COMPILE_OPTIONS>"
    -Wno-unused-command-line-argument -c ${header} -o ${functions}
  DEPENDS troupe_test_precompiled ${header}
  WORKING_DIRECTORY ${CMAKE_BINARY_DIR}  # to which coverage data are relative, as with all objects
  COMMENT "Compiling the functions of the precompiled header"
  COMMAND_EXPAND_LISTS VERBATIM)
add_custom_target(troupe_test_compile_precompiled_functions DEPENDS ${functions})
target_link_libraries(troupe_test_precompiled_functions INTERFACE ${functions})
add_dependencies(troupe_test_precompiled_functions troupe_test_compile_precompiled_functions)
