// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What a program says on standard error, for tests of what is said there where nobody else asks
/// for it. POSIX only.

#include <cstdio>
#include <string>

#include <unistd.h>

namespace troupe::test {

/// Takes what all threads write to standard error while it stands. A sanitizer's report of that
/// time goes there too, so it is to stand around one thing only.
class captured_errors {
public:
  captured_errors() {
    std::fflush(stderr);
    before_ = ::dup(STDERR_FILENO);
    ::dup2(::fileno(file_), STDERR_FILENO);
  }
  captured_errors(const captured_errors&) = delete;
  captured_errors& operator=(const captured_errors&) = delete;
  ~captured_errors() {
    std::fflush(stderr);
    ::dup2(before_, STDERR_FILENO);
    ::close(before_);
    std::fclose(file_);
  }

  /// All of it so far.
  std::string text() const {
    std::fflush(stderr);
    std::string all;
    char buffer[1024];
    // By position: the file's own is where the next is written.
    for (::ssize_t n; (n = ::pread(::fileno(file_), buffer, sizeof buffer,
                                   static_cast<::off_t>(all.size()))) > 0;) {
      all.append(buffer, static_cast<std::size_t>(n));
    }
    return all;
  }

private:
  std::FILE* file_ = std::tmpfile();
  int before_ = -1;
};

}  // namespace troupe::test
