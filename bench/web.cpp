// SPDX-License-Identifier: MIT

// Gateways over HTTP and WebSockets, with the clients on the same machine, in a process of their
// own: what idle connections hold, how long a broadcast takes, and a request through gateway and
// shard against a bare server of Beast in the same run. Server and clients have two processors
// between them; what is given in milliseconds holds where nobody else uses these.

#include <utility>  // Boost 1.74 forgets it

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include <troupe/adapter/web/web.hpp>

#include "support/measure.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <troupe.hpp>
#include <troupe/gateway.hpp>

#include "support/web_clients.hpp"

namespace {

using namespace std::chrono_literals;

// --- the server
// -----------------------------------------------------------------------------------

struct lobby {
  static constexpr std::size_t limit = 50;
  std::string identify(const troupe::request& asked) {
    return asked.parameter("id").value_or("nobody");
  }
};
struct pairs_lobby : lobby {
  static constexpr std::size_t limit = 2;
};

constexpr char answer_text[] = "hello from a room";

struct room {
  troupe::response receive(const troupe::request& asked) {
    if (asked.wants_socket()) return asked.connect();
    return troupe::text_response(200, answer_text);
  }
  void on_message(troupe::socket& s, std::string_view text) { s.send(text); }
  std::string on_gossip(std::string_view) { return "yes"; }
};
struct pairs_room : room {};

struct site {
  explicit site(unsigned threads) {
    troupe::web_router router;
    router.to("/rooms/:name", rooms).to("/pairs/:name", pairs);
    troupe::web_options options;
    options.threads = threads;
    options.max_connections = 20'000;
    server = std::make_unique<troupe::web_server>(std::move(router), options);
  }

  troupe::broker broker{troupe::broker_options{.threads = 2}};
  troupe::gateway<lobby, room> rooms{broker};
  troupe::gateway<pairs_lobby, pairs_room> pairs{broker};
  std::unique_ptr<troupe::web_server> server;
};

/// The same answer by Beast alone, as its own examples do it.
class bare_server {
public:
  bare_server() : acceptor_(io_, {boost::asio::ip::make_address("127.0.0.1"), 0}) {
    accept();
    thread_ = std::thread([this] { io_.run(); });
  }
  ~bare_server() {
    io_.stop();
    thread_.join();
  }
  int port() const { return acceptor_.local_endpoint().port(); }

private:
  using tcp = boost::asio::ip::tcp;

  class session : public std::enable_shared_from_this<session> {
  public:
    explicit session(tcp::socket s) : stream_(std::move(s)) {}

    void read() {
      namespace http = boost::beast::http;
      asked_ = {};
      stream_.expires_after(30s);
      http::async_read(stream_, buffer_, asked_,
                       [self = shared_from_this()](boost::system::error_code e, std::size_t) {
                         if (!e) self->write();
                       });
    }

  private:
    void write() {
      namespace http = boost::beast::http;
      said_ = {};
      said_.version(asked_.version());
      said_.result(http::status::ok);
      said_.set(http::field::content_type, "text/plain; charset=utf-8");
      said_.keep_alive(asked_.keep_alive());
      said_.body() = answer_text;
      said_.prepare_payload();
      http::async_write(stream_, said_,
                        [self = shared_from_this()](boost::system::error_code e, std::size_t) {
                          if (!e) self->read();
                        });
    }

    boost::beast::tcp_stream stream_;
    boost::beast::flat_buffer buffer_;
    boost::beast::http::request<boost::beast::http::string_body> asked_;
    boost::beast::http::response<boost::beast::http::string_body> said_;
  };

  void accept() {
    acceptor_.async_accept([this](boost::system::error_code e, tcp::socket s) {
      if (e) return;
      s.set_option(tcp::no_delay(true), e);
      std::make_shared<session>(std::move(s))->read();
      accept();
    });
  }

  boost::asio::io_context io_{1};
  tcp::acceptor acceptor_;
  std::thread thread_;
};

// --- figures
// --------------------------------------------------------------------------------------

double megabytes_resident() {
  std::ifstream pages("/proc/self/statm");
  double all = 0;
  double resident = 0;
  pages >> all >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1e6;
}

double processor_seconds() {
  rusage u{};
  getrusage(RUSAGE_SELF, &u);
  const auto seconds = [](timeval t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(u.ru_utime) + seconds(u.ru_stime);
}

void print(const char* what, double value, const char* unit, double limit, bool at_least = false) {
  const bool reached = at_least ? value >= limit : value <= limit;
  std::printf("%-58s %10.2f %-3s (at %s %.2f%s)\n", what, value, unit, at_least ? "least" : "most",
              limit, reached ? "" : ": MISSED");
}

template <class Holds>
bool eventually(Holds holds) {
  for (int i = 0; i < 20'000 && !holds(); ++i) std::this_thread::sleep_for(1ms);
  return holds();
}

double median(std::vector<double> all) {
  std::sort(all.begin(), all.end());
  return all[all.size() / 2];
}

/// The median, and the least, which is what others on the machine have disturbed least.
void print_all(const char* what, const std::vector<double>& all, const char* unit, double limit) {
  print(what, median(all), unit, limit);
  std::printf("%-58s %10.2f %s\n", "    the least of them",
              *std::min_element(all.begin(), all.end()), unit);
}

void idle(bench::clients& far, std::size_t wanted) {
  const double before = megabytes_resident();
  site s(1);
  const std::size_t opened = far.open(s.server->port(), "/rooms/tea", wanted);
  std::size_t joined = 0;
  eventually([&] {
    joined = 0;
    for (const auto& one : s.rooms.shards("tea")) joined += one.sockets;
    return joined == opened;
  });
  if (opened < wanted || joined < opened) {
    std::printf("idle WebSockets: only %zu of %zu were opened, and %zu have joined: MISSED\n",
                opened, wanted, joined);
  }
  const double now = megabytes_resident();
  std::printf("%zu idle WebSockets in %zu shards: %.1f MB more than before, %.1f kB each\n", joined,
              s.rooms.shards("tea").size(), now - before,
              1e3 * (now - before) / static_cast<double>(joined));
  print("  memory of the server's process, scaled to 10 000",
        before + (now - before) * 10'000.0 / static_cast<double>(joined), "MB", 600);
  far.close_all();
}

void broadcast(bench::clients& far, unsigned threads, std::size_t wanted) {
  site s(threads);
  const std::size_t opened = far.open(s.server->port(), "/rooms/tea", wanted);
  if (opened < wanted) std::printf("only %zu of %zu connections\n", opened, wanted);
  eventually([&] {
    std::size_t joined = 0;
    for (const auto& one : s.rooms.shards("tea")) joined += one.sockets;
    return joined == opened;
  });
  constexpr int times = 15;
  std::vector<double> half, most;
  for (int i = 0; i < times; ++i) {
    far.begin_hearing();
    const troupe::delivery told =
        s.broker.run(s.rooms.broadcast("tea", bench::clients::stamped_text()));
    const bench::clients::delays d = far.end_hearing();
    if (told.sockets != opened || d.heard != static_cast<double>(opened)) {
      std::printf("only %zu were told, and %.0f have heard it: MISSED\n", told.sockets, d.heard);
    }
    half.push_back(d.p50);
    most.push_back(d.last);
  }
  std::printf("a broadcast to %zu connections in %zu shards, %u thread%s: the last after %.1f ms\n",
              opened, s.rooms.shards("tea").size(), threads, threads == 1 ? "" : "s", median(most));
  print_all("  p50 of delivery", half, "ms", 60);
  far.close_all();
}

troupe::task<> carry(std::shared_ptr<troupe::socket_session> s,
                     std::shared_ptr<troupe::memory_socket> w) {
  co_await s->run(std::move(w));
}

/// What being in so many shards costs, without a network.
troupe::task<> between_shards(troupe::broker& b, troupe::gateway<pairs_lobby, pairs_room>& rooms,
                              std::size_t shards) {
  std::vector<std::shared_ptr<troupe::memory_socket>> wires;
  for (std::size_t i = 0; i < 2 * shards; ++i) {
    troupe::request asked = troupe::socket_request("/?id=" + std::to_string(i));
    troupe::response said = co_await rooms.receive("tea", std::move(asked));
    wires.push_back(std::make_shared<troupe::memory_socket>());
    b.spawn(carry(std::exchange(said.session, nullptr), wires.back()));
  }
  std::size_t joined = 0;
  while (joined != 2 * shards) {
    co_await troupe::sleep_for(1ms);
    joined = 0;
    for (const auto& one : rooms.shards("tea")) joined += one.sockets;
  }
  const auto us_per_shard = [shards](auto begin) {
    return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin)
               .count() /
           static_cast<double>(shards);
  };
  std::vector<double> broadcasts, arrivals, gossips;
  for (int i = 0; i < 50; ++i) {
    auto begin = std::chrono::steady_clock::now();
    const troupe::delivery told = co_await rooms.broadcast("tea", "hello");
    broadcasts.push_back(us_per_shard(begin));
    if (told.sockets != wires.size()) std::printf("a broadcast was not complete: MISSED\n");
    for (const auto& w : wires) static_cast<void>(co_await w->receive());
    arrivals.push_back(us_per_shard(begin));
    begin = std::chrono::steady_clock::now();
    const std::vector<troupe::gossip_reply> replies = co_await rooms.gossip("tea", "there?");
    gossips.push_back(us_per_shard(begin));
    if (replies.size() != shards) std::printf("gossip was not complete: MISSED\n");
  }
  print_all("broadcast to 100 shards with two sockets each, per shard", broadcasts, "us", 3);
  print_all("  until all have heard it, per shard", arrivals, "us", 3);
  print_all("gossip with 100 shards, per shard", gossips, "us", 3);
  for (const auto& w : wires) w->leave();
}

void requests(bench::clients& far) {
  constexpr int connections = 16;
  constexpr int rounds = 7;
  bare_server bare;
  site s(1);
  std::vector<double> rate[2], processor[2];
  for (int i = 0; i < rounds; ++i) {
    for (int ours = 0; ours < 2; ++ours) {
      const double before = processor_seconds();
      const double per_second = far.ask(ours == 0 ? bare.port() : s.server->port(),
                                        "/rooms/tea?id=a", answer_text, connections, 0.4);
      rate[ours].push_back(per_second);
      processor[ours].push_back((processor_seconds() - before) / (0.4 * per_second) * 1e6);
    }
  }
  std::printf("requests per second: bare Beast %.0f, through gateway and shard %.0f\n",
              median(rate[0]), median(rate[1]));
  std::printf(
      "processor time of a request: bare Beast %.1f us, through gateway and shard %.1f us\n",
      median(processor[0]), median(processor[1]));
  print("  requests per second, as a part of bare Beast's", median(rate[1]) / median(rate[0]), "",
        0.7, true);
}

void connects(bench::clients& far) {
  site s(1);
  std::vector<double> early, late;
  for (int i = 0; i < 15; ++i) {
    const bench::clients::costs c =
        far.connect_one_by_one(s.server->port(), "/pairs/" + std::to_string(i), 210, 10);
    early.push_back(c.early);
    late.push_back(c.late);
    far.close_all();
  }
  std::printf("connecting, two to a shard: the 10th client %.1f us, the 200th %.1f us\n",
              median(early), median(late));
  print("  the 200th, as a multiple of the 10th", median(late) / median(early), "", 1.25);
}

/// As many files as may be open. False, with a word about it, where that is too few.
bool raise_file_limit(std::size_t needed) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_max >= needed) return true;
  std::printf(
      "each process may have %llu files open, and %zu are needed: raise the hard limit "
      "(ulimit -Hn)\n",
      static_cast<unsigned long long>(limit.rlim_max), needed);
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string only = argc > 1 ? argv[1] : "";
  const auto is_asked = [&](const char* name) { return only.empty() || only == name; };
  constexpr std::size_t idle_ones = 10'000;
  constexpr std::size_t listeners = 5'000;
  const bool is_enough = raise_file_limit(idle_ones + 200);
  bench::clients far;  // before there are threads
  if (is_asked("idle") && is_enough) idle(far, idle_ones);
  if (is_asked("broadcast") && is_enough) {
    broadcast(far, 1, listeners);
    broadcast(far, 2, listeners);
  }
  if (is_asked("shards")) {
    troupe::broker broker{troupe::broker_options{.threads = 2}};
    troupe::gateway<pairs_lobby, pairs_room> rooms{broker};
    broker.run(between_shards(broker, rooms, 100));
  }
  if (is_asked("requests")) requests(far);
  if (is_asked("connects")) connects(far);
  return is_enough ? 0 : 1;
}
