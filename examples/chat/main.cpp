// SPDX-License-Identifier: MIT
// A chat with named rooms. Two people share a shard, so that there are several soon; who is in a
// room is found out by gossip. Open http://127.0.0.1:8080/ in two windows, or three.
#include <troupe/adapter/web/web.hpp>

#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <troupe.hpp>
#include <troupe/adapter/json/json.hpp>
#include <troupe/gateway.hpp>

#include "page.hpp"

namespace chat {

struct person {
  std::string name;
  std::string shard;
};

// What goes to browsers: always one of these, as JSON.
struct said {
  std::string kind = "said";
  std::string from;
  std::string to;  // "all", "shard", or somebody's name
  std::string text;
};
struct notice {
  std::string kind = "notice";
  std::string text;
};
struct people {
  std::string kind = "people";
  std::vector<person> list;
};
struct shard_line {
  std::string id;
  std::uint64_t connections = 0;
};
struct changed {  // somebody came or went: ask again who is there
  std::string kind = "changed";
};

}  // namespace chat

TROUPE_FIELDS(chat::person, name, shard)
TROUPE_FIELDS(chat::said, kind, from, to, text)
TROUPE_FIELDS(chat::notice, kind, text)
TROUPE_FIELDS(chat::people, kind, list)
TROUPE_FIELDS(chat::changed, kind)
TROUPE_FIELDS(chat::shard_line, id, connections)

namespace chat {

template <class T>
std::string text_of(const T& value) {
  return troupe::to_json(value).dump();
}

struct lobby {
  static constexpr std::size_t limit = 2;

  std::string identify(const troupe::request& asked) {
    std::string name = asked.parameter("name").value_or("");
    if (name.empty() || name.size() > 20 || name.find(' ') != std::string::npos) {
      throw troupe::http_error(400, "a name has 1 to 20 letters, and no blank in it");
    }
    return name;
  }
};

class room {
public:
  explicit room(troupe::shard here) : here_(std::move(here)) {}

  troupe::task<> on_open(troupe::socket& s) {
    s.send(text_of(notice{.text = "You are " + s.uid() + ", in shard " + s.shard() + "."}));
    co_await tell_change(s);
  }

  troupe::task<> on_message(troupe::socket& s, std::string_view line) {
    const std::string_view command = word(line);
    if (command == "/who") {
      co_await tell_who(s);
    } else if (command == "/w" || command == "/msg") {
      co_await whisper(s, line.substr(command.size()));
    } else if (command == "/g" || command == "/group") {
      const said m{.from = s.uid(), .to = "shard", .text = rest(line.substr(command.size()))};
      s.announce(text_of(m), troupe::audience::everyone);
    } else if (command.starts_with('/') && command != "/a" && command != "/all") {
      s.send(text_of(notice{.text = "There are /w somebody, /g, /a, and /who."}));
    } else {
      const bool has_command = command.starts_with('/');
      const said m{.from = s.uid(),
                   .to = "all",
                   .text = rest(has_command ? line.substr(command.size()) : line)};
      std::string text = text_of(m);
      co_await s.broadcast(std::move(text), troupe::audience::everyone);
    }
  }

  troupe::task<> on_close(troupe::socket& s) { return tell_change(s); }

  std::string on_gossip(std::string_view) { return text_of(own_people()); }

private:
  static std::string_view word(std::string_view line) { return line.substr(0, line.find(' ')); }
  static std::string rest(std::string_view line) {
    const std::size_t first = line.find_first_not_of(' ');
    return std::string(first == std::string_view::npos ? "" : line.substr(first));
  }

  std::vector<person> own_people() const {
    std::vector<person> all;
    for (const troupe::socket& s : here_.sockets()) all.push_back({s.uid(), here_.id()});
    return all;
  }

  static troupe::task<> tell_change(troupe::socket& s) {
    std::string text = text_of(changed());
    co_await s.broadcast(std::move(text), troupe::audience::everyone);
  }

  troupe::task<> tell_who(troupe::socket& s) {
    people all;
    all.list = own_people();
    const std::vector<troupe::gossip_reply> replies = co_await here_.gossip("who");
    for (const troupe::gossip_reply& r : replies) {
      if (!r.answer) continue;  // a shard that is going; its people will come again
      const auto theirs = troupe::from_json<std::vector<person>>(*r.answer);
      if (theirs) all.list.insert(all.list.end(), theirs->begin(), theirs->end());
    }
    s.send(text_of(all));
  }

  static troupe::task<> whisper(troupe::socket& s, std::string_view line) {
    const std::string to = std::string(word(line.substr((std::min)(line.size(), std::size_t{1}))));
    const said m{.from = s.uid(),
                 .to = to,
                 .text = rest(line.substr((std::min)(line.size(), to.size() + 1)))};
    const std::string text = text_of(m);
    const troupe::delivery told = co_await s.whisper(to, text);
    if (told.sockets == 0) {
      s.send(text_of(notice{.text = "There is no " + to + " here."}));
    } else if (to != s.uid()) {
      s.send(text);
    }
  }

  troupe::shard here_;
};

using rooms = troupe::gateway<lobby, room>;

troupe::response shards_of(rooms& all, std::string_view name) {
  std::vector<shard_line> lines;
  for (const troupe::shard_info& s : all.shards(name)) lines.push_back({s.id, s.connections});
  return troupe::response(200, text_of(lines), "application/json");
}

/// Until a signal asks for the end.
troupe::task<> wait_for_signal() {
  const auto asked = co_await troupe::as_result(troupe::sleep_for(troupe::endless));
  static_cast<void>(asked);
}

std::uint16_t port_of(const char* text) {
  const std::string_view all(text);
  std::uint16_t port = 0;
  const auto parsed = std::from_chars(all.data(), all.data() + all.size(), port);
  if (parsed.ec != std::errc() || parsed.ptr != all.data() + all.size()) {
    std::cerr << "chat: '" << text << "' is no port\n";
    std::exit(2);
  }
  return port;
}

}  // namespace chat

// example_chat [port [port of /metrics and /dump]]
int main(int argc, char** argv) try {
  troupe::broker broker;
  chat::rooms rooms{broker};

  troupe::web_options options;
  options.port = argc > 1 ? chat::port_of(argv[1]) : 8080;
  for (const char* host : {"http://127.0.0.1:", "http://localhost:"}) {
    options.allowed_origins.push_back(host + std::to_string(options.port));
  }
  troupe::web_router site;
  const auto show_page = [](const troupe::request&) {
    return troupe::response(200, std::string_view(page), "text/html; charset=utf-8");
  };
  site.get("/", show_page)
      .get("/room/:name", show_page)
      .get("/shards/:name",
           [&rooms](const troupe::request&, const troupe::web_router::parts& p) {
             return chat::shards_of(rooms, p.front());
           })
      .to("/socket/:name", rooms);
  troupe::web_server server(std::move(site), options);

  troupe::web_options inside;
  inside.port = argc > 2 ? chat::port_of(argv[2]) : 8081;
  troupe::web_router figures;
  figures
      .get("/metrics",
           [&broker](const troupe::request&) {
             return troupe::response(200, troupe::to_prometheus(broker.stats()),
                                     "text/plain; version=0.0.4");
           })
      .get("/dump",
           [&broker](const troupe::request&) { return troupe::text_response(200, broker.dump()); });
  troupe::web_server inner(std::move(figures), inside);

  std::cout << "chat: http://127.0.0.1:" << server.port() << "/\n"
            << "figures: http://127.0.0.1:" << inner.port() << "/metrics and /dump\n"
            << "Ctrl-C ends it." << std::endl;
  broker.run_until_signal(chat::wait_for_signal());
} catch (const std::system_error& e) {
  std::cerr << "chat: " << e.what() << '\n';
  return 1;
}
