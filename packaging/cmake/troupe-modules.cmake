# SPDX-License-Identifier: MIT

set(TROUPE_MODULE_SYMBOLS ${CMAKE_CURRENT_LIST_DIR}/troupe-module.map
  CACHE INTERNAL "What a module of troupe shows")

# One module, a shared library for a function_host: its class, with TROUPE_METHODS and
# TROUPE_MODULE(class, "<version>"), is in one of the sources.
#
#   troupe_add_module(calculator VERSION v1.0.0 SOURCES calculator.cpp)
#
# builds <build>/modules/calculator-v1.0.0.so as the target calculator. TARGET gives the target
# another name (where two versions of a module are built), OUTPUT_DIRECTORY another folder. A version
# that differs from that in TROUPE_MODULE does not compile. Libraries that the module needs are
# linked as usual: target_link_libraries(calculator PRIVATE ...).
function(troupe_add_module name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "VERSION;TARGET;OUTPUT_DIRECTORY" "SOURCES")
  if(NOT arg_VERSION OR NOT arg_SOURCES OR arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "troupe_add_module(<name> VERSION <version> SOURCES <file>... "
      "[TARGET <target>] [OUTPUT_DIRECTORY <folder>])")
  endif()
  if(NOT arg_TARGET)
    set(arg_TARGET ${name})
  endif()
  if(NOT arg_OUTPUT_DIRECTORY)
    set(arg_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/modules)
  endif()
  add_library(${arg_TARGET} MODULE ${arg_SOURCES})
  target_link_libraries(${arg_TARGET} PRIVATE troupe::core)
  target_compile_definitions(${arg_TARGET} PRIVATE TROUPE_MODULE_VERSION="${arg_VERSION}")
  set_target_properties(${arg_TARGET} PROPERTIES
    PREFIX "" OUTPUT_NAME ${name}-${arg_VERSION} SUFFIX .so
    LIBRARY_OUTPUT_DIRECTORY ${arg_OUTPUT_DIRECTORY}
    CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    LINK_DEPENDS ${TROUPE_MODULE_SYMBOLS})
  # Without these the library could not be unmapped: what it shares with others has to stay.
  target_compile_options(${arg_TARGET} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fno-gnu-unique>)
  target_link_options(${arg_TARGET} PRIVATE LINKER:--version-script=${TROUPE_MODULE_SYMBOLS})
endfunction()

# The helper of sandboxed modules, for programs whose main does not begin with troupe::sandbox_main:
# troupe::function, a program that is built here like one of one's own, from `source`. Once a build.
function(troupe_define_function_helper source)
  if(TARGET troupe_function)
    return()
  endif()
  add_executable(troupe_function EXCLUDE_FROM_ALL ${source})
  add_executable(troupe::function ALIAS troupe_function)
  set_target_properties(troupe_function PROPERTIES OUTPUT_NAME troupe-function)
  target_link_libraries(troupe_function PRIVATE troupe::core ${CMAKE_DL_LIBS})
endfunction()

# Builds the helper with `program`, and puts it beside it, which is where the library looks for it.
function(troupe_put_helper_beside program)
  if(NOT TARGET troupe_function)
    message(FATAL_ERROR "troupe_put_helper_beside(${program}): there is no helper; "
      "find_package(troupe COMPONENTS function)")
  endif()
  add_dependencies(${program} troupe_function)
  add_custom_command(TARGET ${program} POST_BUILD
    COMMAND ${CMAKE_COMMAND} -E copy_if_different
      $<TARGET_FILE:troupe_function> $<TARGET_FILE_DIR:${program}>)
endfunction()
