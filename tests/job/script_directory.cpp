// SPDX-License-Identifier: MIT
// Scripts that are libraries in a folder.

#ifdef TROUPE_TEST_SCRIPTS

#  include <catch2/catch.hpp>

#  include <unistd.h>

#  include <chrono>
#  include <cstdint>
#  include <filesystem>
#  include <fstream>
#  include <string>
#  include <string_view>
#  include <tuple>
#  include <utility>
#  include <vector>

#  include <troupe.hpp>
#  include <troupe/job.hpp>
#  include <troupe/job/script_directory.hpp>

namespace script_directory_tests {
namespace {

using namespace std::chrono_literals;
using troupe::job_id;
using troupe::job_state;

/// As clients know it.
struct add {
  using params = std::tuple<int, int>;
  using result = int;
  static constexpr std::string_view name = "add";
};
struct newer_add : add {
  static constexpr std::uint32_t version = 2;
};
struct add_of_text : add {
  using params = std::tuple<std::string, std::string>;
};

troupe::function_host_options here() {
  troupe::function_host_options o;
  o.kept = troupe::isolation::in_process;
  return o;
}

/// A folder of its own, gone with this object.
class folder {
public:
  folder() {
    std::string name = (std::filesystem::temp_directory_path() / "troupe-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path = name;
  }
  folder(const folder&) = delete;
  folder& operator=(const folder&) = delete;
  ~folder() { std::filesystem::remove_all(path); }

  std::filesystem::path path;
};

struct world {
  troupe::broker broker;
  troupe::memory_network net{broker.runs_on()};
  troupe::script_directory directory{broker, TROUPE_TEST_SCRIPTS, here()};
  troupe::workspace scripts;
  troupe::workspace known;
  troupe::client jobs{net, declared(known)};

  world() { directory.add_to(scripts); }
  static troupe::workspace& declared(troupe::workspace& w) {
    return w.declare<add>().declare<newer_add>();
  }
};

}  // namespace

TEST_CASE("script_directory: libraries in a folder are run, by name and version", "[job]") {
  world w;
  const std::vector<troupe::job_script> all = w.scripts.list();
  REQUIRE(all.size() == 2);
  CHECK(all[0].name == "add");
  CHECK(all[0].version == 1);
  CHECK(all[1].version == 2);
  CHECK(w.known.list().empty());  // what is only declared is not run here

  troupe::instrument i{w.net, w.scripts, {.workers = 4}};
  CHECK(troupe::sync_wait(w.jobs.play<add>(1, 2)) == 3);
  CHECK(troupe::sync_wait(w.jobs.play<newer_add>(1, 2)) == 103);
  std::vector<job_id> ids;
  for (int n = 0; n != 20; ++n) ids.push_back(troupe::sync_wait(w.jobs.queue<add>(n, n)));
  for (int n = 0; n != 20; ++n) {
    CHECK(troupe::sync_wait(w.jobs.result<add>(ids[static_cast<std::size_t>(n)])) == 2 * n);
  }
}

TEST_CASE(
    "script_directory: what a library throws keeps class and message; other params are refused",
    "[job]") {
  world w;
  troupe::instrument i{w.net, w.scripts, {.workers = 1}};
  try {
    static_cast<void>(troupe::sync_wait(w.jobs.play<add>(-1, 2)));
    FAIL("it has not thrown");
  } catch (const troupe::job_failed& e) {
    CHECK(e.type() == "std::domain_error");
    CHECK(e.what() == std::string("only what is not negative is added"));
  }
  auto queued = w.jobs.queue<add_of_text>({.attempts = 5}, "a", "b");
  const job_id id = troupe::sync_wait(std::move(queued));
  CHECK(troupe::sync_wait(w.jobs.completion(id)).state == job_state::dead);
  const auto info = troupe::sync_wait(w.jobs.get(id));
  CHECK(info->error->reason == "its params cannot be read");
}

TEST_CASE("script_directory: one that is wanted no more is asked to stop", "[job]") {
  world w;
  troupe::instrument i{w.net, w.scripts, {.workers = 1}};
  const job_id id = troupe::sync_wait(w.jobs.queue<add>(1, -1));
  while (troupe::sync_wait(w.jobs.get(id))->state != job_state::active) {
    troupe::sync_wait(troupe::sleep_for(1ms));
  }
  CHECK(troupe::sync_wait(w.jobs.cancel(id)));
  CHECK(troupe::sync_wait(w.jobs.completion(id)).state == job_state::cancelled);
}

TEST_CASE("script_directory: no name leads out of the folder", "[job]") {
  folder outer;
  const std::filesystem::path inner = outer.path / "scripts";
  std::filesystem::create_directory(inner);
  const auto put = [](const std::filesystem::path& file) { std::ofstream(file) << "x"; };
  put(outer.path / "secret-1.so");
  std::filesystem::create_symlink(outer.path / "secret-1.so", inner / "secret-1.so");
  std::filesystem::create_directory(inner / "folder-1.so");
  for (const char* name : {"good-7.so", "good-07.so", "good-.so", "-1.so", "good.so", "good-x.so",
                           "..-1.so", "a b-1.so", "good-1.txt", "good-99999999999.so"}) {
    put(inner / name);
  }
  troupe::broker broker;
  troupe::script_directory directory{broker, inner, here()};
  troupe::workspace w;
  directory.add_to(w);
  const std::vector<troupe::job_script> all = w.list();
  REQUIRE(all.size() == 1);
  CHECK(all[0].name == "good");
  CHECK(all[0].version == 7);
  for (const char* name : {"../secret", "secret", "", "scripts/good"}) CHECK_FALSE(w.find(name, 1));
  CHECK_THROWS_AS(troupe::script_directory(broker, inner / "none"),
                  std::filesystem::filesystem_error);
}

}  // namespace script_directory_tests

#endif
