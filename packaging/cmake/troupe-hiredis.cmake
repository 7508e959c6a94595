# SPDX-License-Identifier: MIT
# Defines troupe::hiredis where hiredis can be found: by its own package (1.0 and later, Conan, vcpkg),
# or by its header and library, as distributions have had it before.
if(NOT TARGET troupe::hiredis)
  find_package(hiredis CONFIG QUIET)
  if(TARGET hiredis::hiredis)
    add_library(troupe::hiredis INTERFACE IMPORTED GLOBAL)
    set_target_properties(troupe::hiredis PROPERTIES INTERFACE_LINK_LIBRARIES hiredis::hiredis)
  else()
    find_path(TROUPE_HIREDIS_INCLUDE_DIR hiredis/hiredis.h DOC "The folder that has hiredis/hiredis.h")
    find_library(TROUPE_HIREDIS_LIBRARY hiredis DOC "The library hiredis")
    mark_as_advanced(TROUPE_HIREDIS_INCLUDE_DIR TROUPE_HIREDIS_LIBRARY)
    if(TROUPE_HIREDIS_INCLUDE_DIR AND TROUPE_HIREDIS_LIBRARY)
      add_library(troupe::hiredis INTERFACE IMPORTED GLOBAL)
      set_target_properties(troupe::hiredis PROPERTIES
        INTERFACE_INCLUDE_DIRECTORIES "${TROUPE_HIREDIS_INCLUDE_DIR}"
        INTERFACE_LINK_LIBRARIES "${TROUPE_HIREDIS_LIBRARY}")
    endif()
  endif()
endif()
