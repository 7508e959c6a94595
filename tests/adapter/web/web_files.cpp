// SPDX-License-Identifier: MIT
// Includes Boost before anything else of its kind: 1.74 forgets <utility>.
#include <troupe/adapter/web/web.hpp>

#include <catch2/catch.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <troupe.hpp>
#include <troupe/gateway.hpp>

#include "adapter/web/raw_client.hpp"

namespace web_files_tests {

using namespace std::chrono_literals;

namespace {

/// A directory with files, and a secret beside it.
class folder {
public:
  folder() {
    std::string name = (std::filesystem::temp_directory_path() / "troupe-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
    std::filesystem::create_directories(path_ / "shown" / "sub" / "empty");
    put("secret", "a secret");
    put("shown/page.html", "<p>a page");
    put("shown/a b.txt", "a blank");
    put("shown/none", "no type");
    put("shown/nothing.css", "");
    put("shown/.hidden", "a secret");
    put("shown/sub/index.html", "<p>the index");
    put("shown/sub/data.bin", "0123456789");
    std::filesystem::create_symlink(path_ / "secret", path_ / "shown" / "out");
    std::filesystem::create_symlink(path_, path_ / "shown" / "up");
    std::filesystem::create_symlink("page.html", path_ / "shown" / "in");
    ::mkfifo((path_ / "shown" / "pipe").c_str(), 0600);
  }
  folder(const folder&) = delete;
  folder& operator=(const folder&) = delete;
  ~folder() { std::filesystem::remove_all(path_); }

  void put(const std::string& name, const std::string& bytes) const {
    std::ofstream(path_ / name, std::ios::binary) << bytes;
  }
  std::string shown() const { return (path_ / "shown").string(); }

private:
  std::filesystem::path path_;
};

struct site {
  explicit site(troupe::web_options options = {}, troupe::web_file_options shown = {}) {
    troupe::web_router router;
    router.get("/static/own",
               [](const troupe::request&) { return troupe::text_response(200, "before"); });
    router.files("/static", files.shown(), std::move(shown));
    router.files("/bare/", files.shown() + "/sub", {.index = ""});
    server = std::make_unique<troupe::web_server>(std::move(router), std::move(options));
  }

  folder files;
  std::unique_ptr<troupe::web_server> server;
};

std::string field(const raw_client::answer& a, const std::string& name) {
  return raw_client::field(a.head, name + ": ");
}

std::string numbers(std::size_t size) {
  std::string all;
  for (std::size_t i = 0; all.size() < size; ++i) all += std::to_string(i) + ' ';
  all.resize(size);
  return all;
}

}  // namespace

TEST_CASE("a file is shown with its type, its length and when it has changed") {
  site s;
  raw_client c(s.server->port());
  const auto page = c.get("/static/page.html");
  CHECK(page.status == 200);
  CHECK(page.body == "<p>a page");
  CHECK(field(page, "Content-Type") == "text/html; charset=utf-8");
  CHECK(field(page, "X-Content-Type-Options") == "nosniff");
  CHECK(field(page, "Accept-Ranges") == "bytes");
  CHECK(field(page, "Cache-Control") == "no-cache");
  CHECK(field(page, "ETag").starts_with('"'));
  CHECK(field(page, "Last-Modified").ends_with(" GMT"));
  CHECK(c.get("/static/a%20b.txt").body == "a blank");
  CHECK(c.get("/static/page.html?v=2").status == 200);
  CHECK(field(c.get("/static/none"), "Content-Type") == "application/octet-stream");
  const auto nothing = c.get("/static/nothing.css");
  CHECK(nothing.status == 200);
  CHECK(field(nothing, "Content-Length") == "0");
  CHECK(c.get("/static/own").body == "before");
  c.send("HEAD /static/page.html HTTP/1.1\r\nHost: t\r\n\r\n");
  const std::string head = c.receive_until("\r\n\r\n");
  CHECK(head.starts_with("HTTP/1.1 200"));
  CHECK(raw_client::field(head, "Content-Length: ") == "9");
  CHECK(c.get("/static/page.html").body == "<p>a page");
  const auto wrong =
      c.ask("POST /static/page.html HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n");
  CHECK(wrong.status == 405);
  CHECK(field(wrong, "Allow") == "GET, HEAD");
}

TEST_CASE("a directory is its index, and is not listed") {
  site s;
  raw_client c(s.server->port());
  CHECK(c.get("/static/sub/").body == "<p>the index");
  const auto moved = c.get("/static/sub?x=1");
  CHECK(moved.status == 301);
  CHECK(field(moved, "Location") == "/static/sub/?x=1");
  CHECK(c.get("/static").status == 301);
  CHECK(c.get("/static/").status == 404);
  CHECK(c.get("/static/sub/empty/").status == 404);
  CHECK(c.get("/static/page.html/").status == 404);
  CHECK(c.get("/static/page.html/x").status == 404);
  CHECK(c.get("/bare/data.bin").body == "0123456789");
  CHECK(c.get("/bare/").status == 404);
}

TEST_CASE("nothing outside of the directory is shown") {
  site s;
  raw_client c(s.server->port());
  for (const char* path : {"/static/../secret",
                           "/static/%2e%2e/secret",
                           "/static/%2E%2e/secret",
                           "/static/..%2fsecret",
                           "/static/..%5csecret",
                           "/static/..\\secret",
                           "/static/sub/../../secret",
                           "/static/sub/..%2f..%2fsecret",
                           "/static/./page.html",
                           "/static//page.html",
                           "/static/sub//data.bin",
                           "/static/%00",
                           "/static/page.html%00",
                           "/static/page.html%00.txt",
                           "/static/sub%2fdata.bin",
                           "/static/sub%5cdata.bin",
                           "/static/.hidden",
                           "/static/%2ehidden",
                           "/static/out",
                           "/static/up/secret",
                           "/static/up/shown/page.html",
                           "/static/in",
                           "/static/pipe",
                           "/static//etc/passwd",
                           "/static/%2fetc/passwd",
                           "/static/../../etc/passwd",
                           "/static/...",
                           "/static/none.here",
                           "/static/%252e%252e/secret"}) {
    INFO(path);
    const auto a = c.get(path);
    CHECK(a.status == 404);
    CHECK(a.body == "not found");
  }
  CHECK(c.get("/static/" + std::string(300, 'x')).status == 404);
  CHECK(c.get("/static/page.html").status == 200);
  site open({}, {.cache_control = "max-age=60", .hidden = true, .types = {{"html", "text/x-own"}}});
  raw_client d(open.server->port());
  CHECK(d.get("/static/.hidden").body == "a secret");
  CHECK(d.get("/static/%2e%2e/secret").status == 404);
  const auto own = d.get("/static/page.html");
  CHECK(field(own, "Content-Type") == "text/x-own");
  CHECK(field(own, "Cache-Control") == "max-age=60");
}

TEST_CASE("who has a file already is not sent it again") {
  site s;
  raw_client c(s.server->port());
  const auto first = c.get("/static/page.html");
  const std::string tag = field(first, "ETag");
  const std::string changed = field(first, "Last-Modified");
  const auto status_with = [&](const std::string& fields) {
    c.send("GET /static/page.html HTTP/1.1\r\nHost: t\r\n" + fields + "\r\n");
    const std::string head = c.receive_until("\r\n\r\n");
    const std::string length = raw_client::field(head, "Content-Length: ");
    if (head.starts_with("HTTP/1.1 200")) CHECK(c.receive(std::stoul(length)) == "<p>a page");
    return head.substr(9, 3);
  };
  CHECK(status_with("If-None-Match: " + tag + "\r\n") == "304");
  CHECK(status_with("If-None-Match: \"x\", W/" + tag + "\r\n") == "304");
  CHECK(status_with("If-None-Match: *\r\n") == "304");
  CHECK(status_with("If-None-Match: \"x\"\r\nIf-Modified-Since: " + changed + "\r\n") == "200");
  CHECK(status_with("If-Modified-Since: " + changed + "\r\n") == "304");
  CHECK(status_with("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n") == "200");
  CHECK(status_with("If-Modified-Since: yesterday\r\n") == "200");
  const auto answer_with = [&](const std::string& fields) {
    return c.get("/static/page.html", fields).status;
  };
  CHECK(answer_with("If-Match: " + tag + "\r\n") == 200);
  CHECK(answer_with("If-Match: *\r\n") == 200);
  CHECK(answer_with("If-Match: \"x\"\r\nRange: bytes=1-\r\n") == 412);
  CHECK(answer_with("If-Unmodified-Since: " + changed + "\r\n") == 200);
  CHECK(answer_with("If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n") == 412);
  s.files.put("page.html", "");  // another one
  s.files.put("shown/page.html", "<p>changed");
  const auto second = c.get("/static/page.html", "If-None-Match: " + tag + "\r\n");
  CHECK(second.status == 200);
  CHECK(second.body == "<p>changed");
  CHECK(field(second, "ETag") != tag);
}

TEST_CASE("a part of a file is sent to who asks for one") {
  site s;
  raw_client c(s.server->port());
  const auto part = [&](const std::string& range, const std::string& more = {}) {
    return c.get("/static/sub/data.bin", "Range: " + range + "\r\n" + more);
  };
  const auto some = part("bytes=2-4");
  CHECK(some.status == 206);
  CHECK(some.body == "234");
  CHECK(field(some, "Content-Range") == "bytes 2-4/10");
  CHECK(part("bytes=7-").body == "789");
  CHECK(part("bytes=-3").body == "789");
  CHECK(part("bytes=-30").body == "0123456789");
  CHECK(part("bytes=8-99").body == "89");
  CHECK(field(part("bytes=8-99"), "Content-Range") == "bytes 8-9/10");
  for (const char* beyond : {"bytes=10-", "bytes=99-100", "bytes=-0"}) {
    INFO(beyond);
    const auto a = part(beyond);
    CHECK(a.status == 416);
    CHECK(field(a, "Content-Range") == "bytes */10");
  }
  for (const char* whole : {"bytes=", "bytes=-", "bytes=4-2", "lines=1-2", "bytes=1-2,4-5",
                            "bytes=x-2", "bytes=99999999999999999999-", "bytes=1 -2"}) {
    INFO(whole);
    const auto a = part(whole);
    CHECK(a.status == 200);
    CHECK(a.body == "0123456789");
  }
  const std::string tag = field(c.get("/static/sub/data.bin"), "ETag");
  CHECK(part("bytes=0-0", "If-Range: " + tag + "\r\n").status == 206);
  CHECK(part("bytes=0-0", "If-Range: \"x\"\r\n").status == 200);
}

TEST_CASE("a large file comes in pieces, as its reader takes them") {
  site s;
  const std::string large = numbers(5'000'000);
  s.files.put("shown/large.txt", large);
  raw_client c(s.server->port());
  const auto a = c.get("/static/large.txt");
  CHECK(field(a, "Content-Length") == "5000000");
  CHECK(a.body == large);
  const auto middle = c.get("/static/large.txt", "Range: bytes=1000000-1999999\r\n");
  CHECK(middle.status == 206);
  CHECK(middle.body == large.substr(1'000'000, 1'000'000));
  c.send(
      "HEAD /static/large.txt HTTP/1.1\r\nHost: t\r\n\r\nGET /static/none HTTP/1.1\r\nHost: "
      "t\r\n\r\n");
  CHECK(raw_client::field(c.receive_until("\r\n\r\n"), "Content-Length: ") == "5000000");
  CHECK(c.read_answer().body == "no type");
}

TEST_CASE("a file that becomes shorter while it is sent ends the connection, not the server") {
  site s;
  s.files.put("shown/large.txt", numbers(30'000'000));
  raw_client c(s.server->port());
  c.send("GET /static/large.txt HTTP/1.1\r\nHost: t\r\n\r\n");
  CHECK(c.receive(10'000).size() == 10'000);
  s.files.put("shown/large.txt", "short");
  std::size_t got = 0;
  for (std::string piece = "x"; !piece.empty(); got += piece.size()) piece = c.receive(100'000);
  CHECK(got < 30'000'000);
  CHECK(c.is_over());
  raw_client d(s.server->port());
  CHECK(d.get("/static/large.txt").body == "short");
}

TEST_CASE("who does not read a file leaves the others theirs, and the server its end") {
  troupe::web_options options;
  options.drain_time = 50ms;
  site s(options);
  s.files.put("shown/large.txt", numbers(30'000'000));
  std::vector<std::unique_ptr<raw_client>> sloths;
  for (int i = 0; i < 40; ++i) {
    sloths.push_back(std::make_unique<raw_client>(s.server->port()));
    sloths.back()->send("GET /static/large.txt HTTP/1.1\r\nHost: t\r\n\r\n");
  }
  raw_client c(s.server->port());
  CHECK(c.get("/static/page.html").body == "<p>a page");
  s.server.reset();
  CHECK(c.is_over());
}

TEST_CASE("many read at the same time") {
  troupe::web_options options;
  options.threads = 2;
  site s(options);
  const std::string large = numbers(300'000);
  s.files.put("shown/large.txt", large);
  std::vector<std::unique_ptr<raw_client>> all;
  for (int i = 0; i < 40; ++i) {
    all.push_back(std::make_unique<raw_client>(s.server->port()));
    all.back()->send("GET /static/large.txt HTTP/1.1\r\nHost: t\r\n\r\n");
  }
  for (const auto& c : all) CHECK(c->read_answer().body == large);
}

TEST_CASE("a directory that is not there is refused at once") {
  troupe::web_router router;
  CHECK_THROWS_AS(router.files("/static", "/there/is/no/such/directory"), std::system_error);
}

TEST_CASE("who asks before it sends a body is told to go on, or not to") {
  troupe::web_router router;
  router.post("/echo", [](const troupe::request& asked) {
    return troupe::response(200, asked.body, "text/plain");
  });
  router.get("/target",
             [](const troupe::request& asked) { return troupe::text_response(200, asked.target); });
  router.get("/echo", [](const troupe::request&) { return troupe::text_response(200, ""); });
  troupe::web_options options;
  options.body_limit = 1000;
  troupe::web_server server(std::move(router), options);
  const std::string head = "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n";
  raw_client c(server.port());
  c.send(head + "Expect: 100-Continue\r\n\r\n");
  CHECK(c.receive_until("\r\n\r\n") == "HTTP/1.1 100 Continue\r\n\r\n");
  c.send("hello");
  CHECK(c.read_answer().body == "hello");
  c.send(head + "Expect: 100-continue\r\n\r\nhello");  // it does not wait
  std::string first = c.receive_until("\r\n\r\n");
  if (first.starts_with("HTTP/1.1 100")) first = c.receive_until("\r\n\r\n");
  CHECK(first.starts_with("HTTP/1.1 200"));
  CHECK(c.receive(5) == "hello");
  raw_client large(server.port());
  CHECK(large
            .ask("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 1001\r\n"
                 "Expect: 100-continue\r\n\r\n")
            .status == 413);
  raw_client odd(server.port());
  CHECK(odd.ask(head + "Expect: the-unexpected\r\n\r\n").status == 417);
  raw_client d(server.port());
  CHECK(d.ask("GET http://t/target?x=1 HTTP/1.1\r\nHost: t\r\n\r\n").body == "/target?x=1");
  CHECK(d.ask("GET HTTP://t HTTP/1.1\r\nHost: t\r\n\r\n").status == 404);
  const auto wrong = d.ask("DELETE /echo HTTP/1.1\r\nHost: t\r\n\r\n");
  CHECK(field(wrong, "Allow") == "POST, GET, HEAD");
}

}  // namespace web_files_tests
