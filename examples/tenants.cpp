// SPDX-License-Identifier: MIT
// Counts the words of many files. Each file is a tenant with a word_counter of its own, found by
// its path; the counters hand what they have counted to one ranking, from worker to worker.
//
// A word is a run of ASCII letters, as long as it gets: the same that
//   LC_ALL=C tr -cs '[:alpha:]' '\n' | grep . | LC_ALL=C sort | uniq -c
// counts.
#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <troupe.hpp>
#include <unordered_map>
#include <utility>
#include <vector>

#ifndef TROUPE_SOURCE_DIR
#  define TROUPE_SOURCE_DIR "."
#endif

// --- words --------------------------------------------------------------------------------------

struct word_hash {
  using is_transparent = void;
  std::size_t operator()(std::string_view word) const {
    return std::hash<std::string_view>()(word);
  }
};

using word_counts = std::unordered_map<std::string, std::uint64_t, word_hash, std::equal_to<>>;

struct ranked {
  std::uint64_t count = 0;
  std::string word;
};

// The most frequent first; equally frequent ones in the order of their bytes.
std::vector<ranked> top_of(const word_counts& counts, std::size_t how_many) {
  std::vector<const word_counts::value_type*> all;
  all.reserve(counts.size());
  for (const auto& entry : counts) all.push_back(&entry);
  how_many = std::min(how_many, all.size());
  const auto end = all.begin() + static_cast<std::ptrdiff_t>(how_many);
  std::partial_sort(all.begin(), end, all.end(), [](const auto* a, const auto* b) {
    return a->second != b->second ? a->second > b->second : a->first < b->first;
  });
  std::vector<ranked> top;
  top.reserve(how_many);
  for (auto entry = all.begin(); entry != end; ++entry) {
    top.push_back({(*entry)->second, (*entry)->first});
  }
  return top;
}

std::uint64_t total_of(const word_counts& counts) {
  std::uint64_t total = 0;
  for (const auto& entry : counts) total += entry.second;
  return total;
}

constexpr bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// --- workers ------------------------------------------------------------------------------------

// Merges what the tenants have counted.
class ranking {
public:
  explicit ranking(std::size_t how_many) : how_many_(how_many) {}

  // Whose words these are is not told by the counter but stamped on the call.
  void merge(const troupe::caller& tenant, const word_counts& counts) {
    for (const auto& [word, count] : counts) overall_[word] += count;
    rows_.insert_or_assign(std::string(tenant.key()),
                           row{total_of(counts), top_of(counts, how_many_)});
  }

  // One line for each tenant, and one for all of them.
  std::string table() const {
    std::size_t width = 0;
    for (const auto& entry : rows_) width = std::max(width, entry.first.size());
    const std::string all = "all " + std::to_string(rows_.size());
    width = std::max(width, all.size());

    std::ostringstream text;
    for (const auto& [tenant, its] : rows_) print_row(text, width, tenant, its);
    print_row(text, width, all, row{total_of(overall_), top_of(overall_, how_many_)});
    return std::move(text).str();
  }

  // All words and their counts, in the form of uniq -c.
  std::string every_word() const {
    std::ostringstream text;
    for (const auto& [word, count] : std::map(overall_.begin(), overall_.end())) {
      text << std::setw(7) << count << ' ' << word << '\n';
    }
    return std::move(text).str();
  }

private:
  struct row {
    std::uint64_t words = 0;
    std::vector<ranked> top;
  };

  static void print_row(std::ostream& out, std::size_t width, const std::string& name,
                        const row& its) {
    out << std::left << std::setw(static_cast<int>(width)) << name << std::right << std::setw(9)
        << its.words << " words";
    const char* before = ": ";
    for (const ranked& one : its.top) {
      out << std::exchange(before, ", ") << one.count << ' ' << one.word;
    }
    out << '\n';
  }

  const std::size_t how_many_;
  word_counts overall_;
  std::map<std::string, row> rows_;
};
TROUPE_METHODS(ranking, merge, table, every_word)

// Counts the words of one tenant, whose text comes in chunks.
class word_counter {
public:
  explicit word_counter(troupe::context& ctx) : ranking_(ctx.worker<ranking>()) {}

  void add(const troupe::shared_bytes& chunk) {
    std::string_view text = chunk.view();
    for (;;) {
      const auto end = std::find_if_not(text.begin(), text.end(), is_letter);
      const auto word = text.substr(0, static_cast<std::size_t>(end - text.begin()));
      if (word.size() == text.size()) {  // it may go on in the next chunk
        unfinished_ += word;
        return;
      }
      finish_word(word);
      const auto next = std::find_if(end, text.end(), is_letter);
      text.remove_prefix(static_cast<std::size_t>(next - text.begin()));
    }
  }

  // After the last chunk. The counts are lent to the ranking, not copied.
  troupe::task<> finish() {
    finish_word({});
    co_await ranking_->merge(counts_);
  }

private:
  void finish_word(std::string_view rest) {
    if (unfinished_.empty()) return count(rest);
    unfinished_ += rest;
    count(unfinished_);
    unfinished_.clear();
  }

  void count(std::string_view word) {
    if (word.empty()) return;
    const auto known = counts_.find(word);
    if (known != counts_.end()) {
      ++known->second;
    } else {
      counts_.emplace(word, 1);
    }
  }

  troupe::proxy<ranking> ranking_;
  word_counts counts_;
  std::string unfinished_;  // the letters at the end of the chunk before
};
TROUPE_METHODS(word_counter, add, finish)

// --- files --------------------------------------------------------------------------------------

// Reads a file block by block. Blocks its thread, so it runs by offload.
class reader {
public:
  explicit reader(std::string path) : path_(std::move(path)) {}

  // The next block; empty at the end.
  troupe::shared_bytes next() {
    if (!file_) file_.reset(std::fopen(path_.c_str(), "rb"));
    if (!file_) throw_last("cannot be opened");
    std::string block(block_size, '\0');
    block.resize(std::fread(block.data(), 1, block.size(), file_.get()));
    if (block.empty() && std::ferror(file_.get()) != 0) throw_last("cannot be read");
    return troupe::shared_bytes(std::move(block));
  }

private:
  struct close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  static constexpr std::size_t block_size = 64 * 1024;

  [[noreturn]] static void throw_last(const char* what) {
    throw std::system_error(errno, std::generic_category(), what);
  }

  const std::string path_;
  std::unique_ptr<std::FILE, close> file_;
};

// Streams a file to its counter in chunks, so that no turn is long. The chunks share the block that
// was read.
troupe::task<> stream(troupe::proxy<word_counter> counter, std::string path,
                      std::size_t chunk_size) {
  reader file(std::move(path));
  const auto read = [&file] { return file.next(); };
  for (;;) {
    const troupe::shared_bytes block = co_await troupe::offload(read);
    if (block.empty()) break;
    for (std::size_t at = 0; at < block.size(); at += chunk_size) {
      co_await counter->add(block.slice(at, std::min(chunk_size, block.size() - at)));
    }
  }
  co_await counter->finish();
}

// What went wrong with a file; empty: nothing. A file that could not be read to its end is left out
// of the ranking, as its counter never finishes.
troupe::task<std::string> count_file(troupe::broker& broker, troupe::async_semaphore& open_files,
                                     std::string path, std::size_t chunk_size) {
  co_await open_files.acquire();
  const auto done =
      co_await troupe::as_result(stream(broker.worker<word_counter>(path), path, chunk_size));
  open_files.release();
  try {
    done.value();
  } catch (const std::exception& e) {
    co_return path + ": " + e.what();
  }
  co_return std::string();
}

// --- the program --------------------------------------------------------------------------------

struct settings {
  std::vector<std::string> files;
  std::size_t top = 5;
  std::size_t chunk = 4096;
  bool every_word = false;
};

constexpr std::string_view usage =
    "usage: tenants [--top N] [--all] [--chunk BYTES] [--] [FILE]...\n"
    "\n"
    "Counts the words of each file and of all of them. A file named twice is counted once.\n"
    "Without a file: the licences that Debian installs, and troupe's README.\n"
    "\n"
    "  --top N        the N most frequent words of each (5)\n"
    "  --all          every word with its count over all files, and nothing else\n"
    "  --chunk BYTES  how much of a file a worker is given by one call (4096)\n";

std::size_t number_of(const std::string& option, const std::string& text) {
  std::size_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, wrong] = std::from_chars(text.data(), end, number);
  if (wrong != std::errc() || rest != end || number == 0) {
    throw std::invalid_argument(option + " takes a number from 1 on, not \"" + text + '"');
  }
  return number;
}

std::vector<std::string> usual_files() {
  std::vector<std::string> files;
  std::error_code missing;  // elsewhere than on Debian the README has to do
  for (const auto& entry :
       std::filesystem::directory_iterator("/usr/share/common-licenses", missing)) {
    if (entry.is_regular_file() && !entry.is_symlink()) files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  files.emplace_back(TROUPE_SOURCE_DIR "/README.md");
  return files;
}

settings settings_from(const std::vector<std::string>& arguments) {
  settings chosen;
  std::set<std::string> named;
  bool only_files = false;
  for (auto argument = arguments.begin(); argument != arguments.end(); ++argument) {
    const auto value = [&] {
      if (argument + 1 == arguments.end()) throw std::invalid_argument(*argument + " what?");
      const std::string& option = *argument;
      return number_of(option, *++argument);
    };
    if (only_files || !argument->starts_with("--")) {
      if (named.insert(*argument).second) chosen.files.push_back(*argument);
    } else if (*argument == "--") {
      only_files = true;
    } else if (*argument == "--top") {
      chosen.top = value();
    } else if (*argument == "--chunk") {
      chosen.chunk = value();
    } else if (*argument == "--all") {
      chosen.every_word = true;
    } else {
      throw std::invalid_argument("there is no option " + *argument);
    }
  }
  if (chosen.files.empty()) chosen.files = usual_files();
  return chosen;
}

std::uint64_t calls_of(const troupe::broker& broker) {
  std::uint64_t calls = 0;
  for (const troupe::worker_info& worker : broker.workers()) calls += worker.calls;
  return calls;
}

void print_speed(std::uint64_t calls, std::chrono::duration<double> took) {
  std::cout << calls << " calls in " << std::fixed << std::setprecision(1) << took.count() * 1000
            << " ms: " << std::setprecision(0) << static_cast<double>(calls) / took.count()
            << " calls per second\n";
}

troupe::task<int> run(troupe::broker& broker, const settings& chosen) {
  constexpr std::size_t open_at_once = 64;
  const auto begin = std::chrono::steady_clock::now();
  troupe::async_semaphore open_files(open_at_once);
  std::vector<troupe::task<std::string>> files;
  for (const std::string& path : chosen.files) {
    files.push_back(count_file(broker, open_files, path, chosen.chunk));
  }
  const std::vector<std::string> complaints = co_await troupe::when_all(std::move(files));

  auto overall = broker.worker<ranking>();
  if (chosen.every_word) {
    std::cout << co_await overall->every_word();
  } else {
    std::cout << co_await overall->table();
    print_speed(calls_of(broker), std::chrono::steady_clock::now() - begin);
  }

  int code = 0;
  for (const std::string& complaint : complaints) {
    if (complaint.empty()) continue;
    std::cerr << "tenants: " << complaint << '\n';
    code = 1;
  }
  co_return code;
}

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (!arguments.empty() && (arguments[0] == "--help" || arguments[0] == "-h")) {
    std::cout << usage;
    return 0;
  }
  try {
    const settings chosen = settings_from(arguments);
    troupe::broker broker;
    broker.provide<ranking>([&](troupe::context&) { return ranking(chosen.top); });
    const int code = broker.run(run(broker, chosen));
    if (!std::cout.flush()) throw std::runtime_error("the output cannot be written");
    return code;
  } catch (const std::invalid_argument& e) {
    std::cerr << "tenants: " << e.what() << "\n\n" << usage;
    return 2;
  } catch (const std::exception& e) {
    std::cerr << "tenants: " << e.what() << '\n';
    return 1;
  }
}
