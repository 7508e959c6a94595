# SPDX-License-Identifier: MIT
# cmake -D root=... -D work=... -P vcpkg_port.cmake
#
# Carries out packaging/vcpkg/troupe/portfile.cmake with stand-ins for the functions that vcpkg
# provides, taking this tree for the archive, and leaves the package in ${work}/package.
cmake_minimum_required(VERSION 3.22)
set(port ${root}/packaging/vcpkg/troupe)
set(CURRENT_PACKAGES_DIR ${work}/package)
set(PORT troupe)

file(READ ${port}/vcpkg.json manifest)
string(JSON VERSION GET "${manifest}" version)
file(STRINGS ${root}/include/troupe/version.hpp own_version REGEX "TROUPE_VERSION_STRING")
if(NOT own_version MATCHES "\"${VERSION}\"")
  message(FATAL_ERROR "vcpkg.json says version ${VERSION}; the header says otherwise: ${own_version}")
endif()

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "failed: ${ARGN}")
  endif()
endfunction()

function(vcpkg_from_github)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "OUT_SOURCE_PATH;REPO;REF;SHA512;HEAD_REF" "")
  set(${arg_OUT_SOURCE_PATH} ${root} PARENT_SCOPE)
endfunction()

# FEATURES has the features that were asked for.
function(vcpkg_check_features)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "OUT_FEATURE_OPTIONS" "FEATURES")
  set(options)
  while(arg_FEATURES)
    list(POP_FRONT arg_FEATURES feature option)
    if(feature IN_LIST FEATURES)
      list(APPEND options -D${option}=ON)
    else()
      list(APPEND options -D${option}=OFF)
    endif()
  endwhile()
  set(${arg_OUT_FEATURE_OPTIONS} ${options} PARENT_SCOPE)
endfunction()

function(vcpkg_cmake_configure)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "SOURCE_PATH" "OPTIONS")
  run(${CMAKE_COMMAND} -S ${arg_SOURCE_PATH} -B ${work}/port-build
    -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX=${CURRENT_PACKAGES_DIR} ${arg_OPTIONS})
endfunction()

function(vcpkg_cmake_install)
  run(${CMAKE_COMMAND} --build ${work}/port-build)
  run(${CMAKE_COMMAND} --install ${work}/port-build)
endfunction()

# vcpkg moves the files to share/<port>, which is one folder less deep, and mends their way up.
function(vcpkg_cmake_config_fixup)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "PACKAGE_NAME;CONFIG_PATH" "")
  file(GLOB files ${CURRENT_PACKAGES_DIR}/${arg_CONFIG_PATH}/*)
  file(COPY ${files} DESTINATION ${CURRENT_PACKAGES_DIR}/share/${PORT})
  file(REMOVE_RECURSE ${CURRENT_PACKAGES_DIR}/${arg_CONFIG_PATH})
  set(one_up "get_filename_component\\(_IMPORT_PREFIX \"\\\${_IMPORT_PREFIX}\" PATH\\)\n")
  foreach(file IN ITEMS troupe-config.cmake troupe-targets.cmake)
    set(path ${CURRENT_PACKAGES_DIR}/share/${PORT}/${file})
    file(READ ${path} content)
    string(REGEX REPLACE "(${one_up}${one_up})${one_up}" "\\1" content "${content}")
    string(REPLACE "CMAKE_CURRENT_LIST_DIR}/../../../" "CMAKE_CURRENT_LIST_DIR}/../../" content "${content}")
    file(WRITE ${path} "${content}")
  endforeach()
endfunction()

function(vcpkg_fixup_pkgconfig)
endfunction()

function(vcpkg_install_copyright)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "" "FILE_LIST")
  configure_file(${arg_FILE_LIST} ${CURRENT_PACKAGES_DIR}/share/${PORT}/copyright COPYONLY)
endfunction()

include(${port}/portfile.cmake)

foreach(folder IN ITEMS lib bin debug share/cmake)
  if(EXISTS ${CURRENT_PACKAGES_DIR}/${folder})
    message(FATAL_ERROR "the port leaves ${folder}, which vcpkg refuses in a package of headers")
  endif()
endforeach()
