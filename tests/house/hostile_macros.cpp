// SPDX-License-Identifier: MIT
// Compiles troupe.hpp and troupe/gateway.hpp behind macros that other libraries define with the
// names of ordinary words: Qt (emit, signals, slots, foreach) and the Windows headers (min, max,
// small, interface, ERROR).
// What the standard library and the system bring is included first: they are not the question.

#include <algorithm>
#include <any>
#include <array>
#include <atomic>
#include <barrier>
#include <bit>
#include <bitset>
#include <cassert>
#include <cctype>
#include <cerrno>
#include <cfenv>
#include <cfloat>
#include <charconv>
#include <chrono>
#include <cinttypes>
#include <climits>
#include <clocale>
#include <cmath>
#include <codecvt>
#include <compare>
#include <complex>
#include <concepts>
#include <condition_variable>
#include <coroutine>
#include <csetjmp>
#include <csignal>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <cuchar>
#include <cwchar>
#include <cwctype>
#include <deque>
#include <exception>
#include <filesystem>
#include <forward_list>
#include <fstream>
#include <functional>
#include <future>
#include <initializer_list>
#include <iomanip>
#include <ios>
#include <iosfwd>
#include <iostream>
#include <istream>
#include <iterator>
#include <latch>
#include <limits>
#include <list>
#include <locale>
#include <map>
#include <memory>
#include <memory_resource>
#include <mutex>
#include <new>
#include <numbers>
#include <numeric>
#include <optional>
#include <ostream>
#include <queue>
#include <random>
#include <ranges>
#include <ratio>
#include <regex>
#include <scoped_allocator>
#include <semaphore>
#include <set>
#include <shared_mutex>
#include <source_location>
#include <span>
#include <sstream>
#include <stack>
#include <stdexcept>
#include <stop_token>
#include <streambuf>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <tuple>
#include <type_traits>
#include <typeindex>
#include <typeinfo>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <valarray>
#include <variant>
#include <vector>
#include <version>

// Not every standard library or system has these.
#if __has_include(<format>)
#  include <format>
#endif
#if __has_include(<expected>)
#  include <expected>
#endif
#if __has_include(<syncstream>)
#  include <syncstream>
#endif
#if __has_include(<cxxabi.h>)
#  include <cxxabi.h>
#endif
#if __has_include(<dirent.h>)
#  include <dirent.h>
#endif
#if __has_include(<dlfcn.h>)
#  include <dlfcn.h>
#endif
#if __has_include(<execinfo.h>)
#  include <execinfo.h>
#endif
#if __has_include(<fcntl.h>)
#  include <fcntl.h>
#endif
#if __has_include(<linux/futex.h>)
#  include <linux/futex.h>
#endif
#if __has_include(<linux/membarrier.h>)
#  include <linux/membarrier.h>
#endif
#if __has_include(<netinet/in.h>)
#  include <netinet/in.h>
#endif
#if __has_include(<poll.h>)
#  include <poll.h>
#endif
#if __has_include(<pthread.h>)
#  include <pthread.h>
#endif
#if __has_include(<sched.h>)
#  include <sched.h>
#endif
#if __has_include(<signal.h>)
#  include <signal.h>
#endif
#if __has_include(<sys/eventfd.h>)
#  include <sys/eventfd.h>
#endif
#if __has_include(<sys/mman.h>)
#  include <sys/mman.h>
#endif
#if __has_include(<sys/prctl.h>)
#  include <sys/prctl.h>
#endif
#if __has_include(<sys/resource.h>)
#  include <sys/resource.h>
#endif
#if __has_include(<sys/socket.h>)
#  include <sys/socket.h>
#endif
#if __has_include(<sys/stat.h>)
#  include <sys/stat.h>
#endif
#if __has_include(<sys/syscall.h>)
#  include <sys/syscall.h>
#endif
#if __has_include(<sys/time.h>)
#  include <sys/time.h>
#endif
#if __has_include(<sys/types.h>)
#  include <sys/types.h>
#endif
#if __has_include(<sys/un.h>)
#  include <sys/un.h>
#endif
#if __has_include(<sys/wait.h>)
#  include <sys/wait.h>
#endif
#if __has_include(<time.h>)
#  include <time.h>
#endif
#if __has_include(<unistd.h>)
#  include <unistd.h>
#endif

// An empty macro makes a declaration vanish, and one with a strange value makes it a syntax error:
// either shows where a header uses the word.
#define emit
#define signals public
#define slots
#define foreach for
#define forever for (;;)
#define Q_EMIT
#define min(a, b) (((a) < (b)) ? (a) : (b))
#define max(a, b) (((a) > (b)) ? (a) : (b))
#define small char
#define near
#define far
#define interface struct
#define ERROR 0
#define IN
#define OUT
#define OPTIONAL
#define DELETE 0x00010000L
#define STRICT 1
#define NO_ERROR 0L
#define VOID void
#define TRUE 1
#define FALSE 0
#define GetObject GetObjectA
#define SendMessage SendMessageA
#define Yield()
#define check(condition) ((void)(condition))
#define verify(condition) ((void)(condition))
#undef unix
#define unix 1
#undef linux
#define linux 1
#undef major
#define major(device) (device)
#undef minor
#define minor(device) (device)

#include <troupe.hpp>
#include <troupe/gateway.hpp>
