#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# check.sh <way> <work folder>: gets the library in one way, builds the consumer with it and runs it.
# Ends with 77 where the tool that the way needs cannot be had; ctest calls that skipped.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
way=$1
work=$2/$way
export CXX=${CXX:-c++}
prefix=$work/prefix

# CMake's default is make, which need not be there.
if command -v ninja > /dev/null; then export CMAKE_GENERATOR=Ninja; fi

fail() { echo "packaging: $*" >&2; exit 1; }
skip() { echo "packaging: $*; skipped"; exit 77; }

# The work folder may hold what an older version of the library left there.
rm -rf "$work"
mkdir -p "$work"

run_consumer() {
  local printed
  printed=$("$1")
  echo "$printed"
  [[ $printed == "troupe "*$'\n'"Hello World #1" ]] || fail "the consumer printed something else"
}

# configure_and_run <source> [cmake option...]
configure_and_run() {
  cmake -S "$1" -B "$work/build" -DCMAKE_BUILD_TYPE=Debug "${@:2}"
  cmake --build "$work/build"
  run_consumer "$work/build/consumer"
}

install_to_prefix() {
  cmake -S "$root" -B "$work/install" -DCMAKE_INSTALL_PREFIX="$prefix" \
    -DTROUPE_BUILD_TESTS=OFF -DTROUPE_BUILD_EXAMPLES=OFF -DTROUPE_BUILD_BENCH=OFF
  cmake --install "$work/install"
}

# Every header of the tree and, beside them, only the files named here.
check_prefix() {
  diff <(cd "$root/include" && find . -name '*.hpp' | sort) \
       <(cd "$1/include" && find . ! -type d | sort) || fail "the installed headers differ"
  diff <(printf '%s\n' "${@:2}" | sort) \
       <(cd "$1" && find . -path ./include -prune -o ! -type d -print | sort) \
    || fail "the prefix holds something else than expected"
  [[ -z $(find "$1" -type d -empty) ]] || fail "the prefix has empty folders"
}

check_cmake_prefix() {
  check_prefix "$prefix" \
    ./share/cmake/troupe/troupe-config.cmake \
    ./share/cmake/troupe/troupe-config-version.cmake \
    ./share/cmake/troupe/troupe-module.map \
    ./share/cmake/troupe/troupe-modules.cmake \
    ./share/cmake/troupe/troupe-targets.cmake \
    ./share/cmake/troupe/troupe_function.cpp \
    ./share/licenses/troupe/LICENSE \
    ./share/pkgconfig/troupe.pc
  if grep -rF -e "$root" -e "$work" "$prefix/share"; then
    fail "an installed file names a place on this machine"
  fi
}

check_find_package() {
  install_to_prefix
  check_cmake_prefix
  # An installed tree works wherever it is put.
  mv "$prefix" "$work/moved"
  configure_and_run "$here/cmake_find_package" -DCMAKE_PREFIX_PATH="$work/moved"
}

check_pkg_config() {
  command -v pkg-config > /dev/null || skip "there is no pkg-config"
  install_to_prefix
  mv "$prefix" "$work/moved"
  export PKG_CONFIG_PATH=$work/moved/share/pkgconfig
  pkg-config --atleast-version=0.1 troupe || fail "pkg-config does not find troupe 0.1"
  # The flags are words to be split.
  # shellcheck disable=SC2046
  "$CXX" -std=c++20 "$here/consumer/main.cpp" $(pkg-config --cflags --libs troupe) -o "$work/consumer"
  run_consumer "$work/consumer"
}

# The adapter to JSON, found in both ways; the program says what it made.
check_json() {
  pkg-config --exists nlohmann_json || skip "there is no nlohmann_json"
  cmake -S "$root" -B "$work/install" -DCMAKE_INSTALL_PREFIX="$prefix" -DTROUPE_JSON=ON \
    -DTROUPE_BUILD_TESTS=OFF -DTROUPE_BUILD_EXAMPLES=OFF -DTROUPE_BUILD_BENCH=OFF
  cmake --install "$work/install"
  mv "$prefix" "$work/moved"
  cmake -S "$here/cmake_json" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/moved"
  cmake --build "$work/build"
  [[ $("$work/build/consumer") == '[1,2]' ]] || fail "the consumer printed something else"
  export PKG_CONFIG_PATH=$work/moved/share/pkgconfig
  # The flags are words to be split.
  # shellcheck disable=SC2046
  "$CXX" -std=c++20 "$here/cmake_json/main.cpp" $(pkg-config --cflags --libs troupe-json) \
    -o "$work/consumer"
  [[ $("$work/consumer") == '[1,2]' ]] || fail "the consumer printed something else"
}

# The adapter to Redis, found in both ways; there is no server, and the program says so.
check_redis() {
  pkg-config --exists hiredis openssl || skip "there is no hiredis, or no OpenSSL"
  cmake -S "$root" -B "$work/install" -DCMAKE_INSTALL_PREFIX="$prefix" -DTROUPE_REDIS=ON \
    -DTROUPE_BUILD_TESTS=OFF -DTROUPE_BUILD_EXAMPLES=OFF -DTROUPE_BUILD_BENCH=OFF
  cmake --install "$work/install"
  mv "$prefix" "$work/moved"
  cmake -S "$here/cmake_redis" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/moved"
  cmake --build "$work/build"
  [[ $("$work/build/consumer") == 'connection lost' ]] || fail "the consumer printed something else"
  export PKG_CONFIG_PATH=$work/moved/share/pkgconfig
  # The flags are words to be split.
  # shellcheck disable=SC2046
  "$CXX" -std=c++20 "$here/cmake_redis/main.cpp" $(pkg-config --cflags --libs troupe-redis) \
    -o "$work/consumer"
  [[ $("$work/consumer") == 'connection lost' ]] || fail "the consumer printed something else"
}

# A module, and a program that runs it in a sandbox by a helper that is built with the two.
check_function() {
  [[ $(uname -s) == Linux ]] || skip "modules are for Linux"
  install_to_prefix
  mv "$prefix" "$work/moved"
  cmake -S "$here/function" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/moved"
  cmake --build "$work/build"
  run_function "$work/build/bin"
}

# run_function <folder of the program and its helper> [folder of the modules]
run_function() {
  local printed
  [[ -x $1/troupe-function ]] || fail "there is no helper beside the program"
  printed=$("$1/host" "${2:-$1}")
  [[ $printed == 'the mean is 2.5, computed in another process' ]] || fail "the host printed: $printed"
}

check_subdirectory() { configure_and_run "$here/cmake_subdirectory" -DTROUPE_SOURCE="$root"; }

check_fetchcontent() {
  configure_and_run "$here/cmake_fetchcontent" -DFETCHCONTENT_SOURCE_DIR_TROUPE="$root"
}

check_meson() {
  command -v meson > /dev/null || skip "there is no meson"
  local source=$work/source
  mkdir -p "$source/subprojects"
  cp "$here/meson_subproject/meson.build" "$here/consumer/main.cpp" "$source"
  cp "$here"/function/*.cpp "$source"
  # Meson wants its subprojects below its source folder, and refuses links that lead out of it.
  mkdir "$source/subprojects/troupe"
  cp -R "$root"/{include,packaging,meson.build,meson_options.txt,LICENSE} "$source/subprojects/troupe"
  meson setup "$work/build" "$source"
  meson compile -C "$work/build"
  run_consumer "$work/build/consumer"
  if [[ $(uname -s) == Linux ]]; then
    cp "$work/build/subprojects/troupe/troupe-function" "$work/build"
    run_function "$work/build"
  fi

  # On its own it installs what CMake installs, without CMake's files.
  meson setup "$work/alone" "$root" --prefix "$prefix" -Dbuild_own=false
  meson install -C "$work/alone" --no-rebuild
  check_prefix "$prefix" ./share/licenses/troupe/LICENSE ./share/pkgconfig/troupe.pc
}

# vcpkg itself is seldom there; what its port says is carried out with stand-ins for its functions.
check_vcpkg() {
  cmake -D root="$root" -D work="$work" -P "$here/vcpkg_port.cmake"
  check_prefix "$work/package" \
    ./share/pkgconfig/troupe.pc \
    ./share/troupe/copyright \
    ./share/troupe/troupe-config.cmake \
    ./share/troupe/troupe-config-version.cmake \
    ./share/troupe/troupe-module.map \
    ./share/troupe/troupe-modules.cmake \
    ./share/troupe/troupe-targets.cmake \
    ./share/troupe/troupe_function.cpp
  configure_and_run "$here/cmake_find_package" -DCMAKE_PREFIX_PATH="$work/package"
}

# Conan of the machine or, where there is none, in an environment that is kept beside the work
# folder: fetching it takes longest.
find_conan() {
  conan=$(command -v conan || true)
  if [[ -n $conan ]] && "$conan" --version | grep -q 'version 2'; then return; fi
  local environment=$work/../conan_environment
  conan=$environment/bin/conan
  if [[ -x $conan ]]; then return; fi
  python3 -m venv "$environment" && "$environment/bin/pip" install --quiet 'conan>=2.1,<3' && return
  rm -rf "$environment"
  python3 -m py_compile "$root/conanfile.py" "$root/packaging/conan/all/conanfile.py"
  skip "Conan cannot be had here; its recipes are well-formed Python"
}

check_conan() {
  export PYTHONPYCACHEPREFIX=$work/pycache
  find_conan
  export CONAN_HOME=$work/home
  "$conan" profile detect --name default
  local settings=(-s compiler.cppstd=20 -s build_type=Release)
  if [[ -n ${CMAKE_GENERATOR:-} ]]; then
    settings+=(-c "tools.cmake.cmaketoolchain:generator=$CMAKE_GENERATOR")
  fi

  "$conan" create "$root" "${settings[@]}"

  # The recipe of a release, with this tree in place of the archive that it downloads.
  local version recipe=$work/recipe archive=$work/troupe.tar.gz
  version=$(sed -n 's/.*TROUPE_VERSION_STRING "\(.*\)"/\1/p' "$root/include/troupe/version.hpp")
  tar -C "$root" -czf "$archive" --transform "s,^,troupe-$version/," include LICENSE
  cp -R "$root/packaging/conan/all" "$recipe"
  printf 'sources:\n  "%s":\n    url: "file://%s"\n' "$version" "$archive" > "$recipe/conandata.yml"
  "$conan" create "$recipe" --version "$version" "${settings[@]}"

  local package
  package=$("$conan" cache path "$("$conan" list "troupe/$version:*" --format=compact \
    | grep -o "troupe/$version#[0-9a-f]*:[0-9a-f]*" | tail -n 1)")
  rm -f "$package"/conan{info,manifest}.txt
  check_prefix "$package" ./licenses/LICENSE
  grep -q "\"$version\"" "$root/packaging/conan/config.yml" || fail "config.yml lacks $version"
}

case $way in
  find_package | function | pkg_config | json | redis | subdirectory | fetchcontent | meson | vcpkg | conan)
    "check_$way"
    ;;
  *) fail "no such way: $way" ;;
esac
echo "packaging: $way works"
