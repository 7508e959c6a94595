// SPDX-License-Identifier: MIT
// Gives a fuzz target the files of a folder, one after the other: with any compiler, in every run
// of the tests. Without a fuzzer behind it, a target is a function like any other.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

std::vector<std::uint8_t> read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::vector<std::filesystem::path> files_in(const char* folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

int main(int argc, char* argv[]) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s <folder>\n", argv[0]);
    return 2;
  }
  const auto files = files_in(argv[1]);
  for (const auto& path : files) {
    const auto input = read(path);
    // Each file, and what is left of it when its end is missing: at most 200 cuts.
    const std::size_t step = input.size() / 200 + 1;
    for (std::size_t size = input.size();; size -= step) {
      const std::vector<std::uint8_t> cut(input.begin(),
                                          input.begin() + static_cast<std::ptrdiff_t>(size));
      LLVMFuzzerTestOneInput(cut.data(), cut.size());
      if (size < step) break;
    }
  }
  std::printf("%zu files\n", files.size());
  return files.empty() ? 1 : 0;
}
