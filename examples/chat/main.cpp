// SPDX-License-Identifier: MIT
// A chat with named rooms. Two people share a shard, so that there are several soon; who is in a
// room is found out by gossip among them. Open http://127.0.0.1:8080/ in two windows, or three.
#include <troupe/adapter/web/web.hpp>

#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <map>
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
  std::string heard_by;  // "all", "shard", or "one": a whisper. Names of people are no part of it.
  std::string from;
  std::string to{};  // whom it was whispered to
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
  std::uint64_t limit = 0;
};

}  // namespace chat

TROUPE_FIELDS(chat::person, name, shard)
TROUPE_FIELDS(chat::said, kind, heard_by, from, to, text)
TROUPE_FIELDS(chat::notice, kind, text)
TROUPE_FIELDS(chat::people, kind, list)
TROUPE_FIELDS(chat::shard_line, id, connections, limit)

namespace chat {

template <class T>
std::string text_of(const T& value) {
  return troupe::to_json(value).dump();
}

constexpr char help[] =
    "/w and a name whispers, /g talks to your shard alone, /a to all, as does what has no command.";

bool is_name(const std::string& text) {
  if (!troupe::is_utf8(text)) return false;
  std::size_t letters = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= ' ' || byte == 0x7f) return false;
    if ((byte & 0xC0U) != 0x80U) ++letters;
  }
  return letters >= 1 && letters <= 20;
}

struct lobby {
  static constexpr std::size_t limit = 2;

  std::string identify(const troupe::request& asked) {
    std::string name = asked.parameter("name").value_or("");
    if (!is_name(name)) {
      throw troupe::http_error(400, "a name has 1 to 20 letters, and no blank in it");
    }
    return name;
  }
};

class room {
public:
  room(troupe::context& ctx, troupe::shard here) : ctx_(ctx), here_(std::move(here)) {}

  void on_open(troupe::socket& s) {
    names_.emplace(s.number(), s.uid());
    s.send(text_of(notice{.text = "You are " + s.uid() + ", in shard " + s.shard() + ". " + help}));
    tells_others_ = true;
    look_soon();
  }

  void on_close(troupe::socket& s) {
    names_.erase(s.number());
    tells_others_ = true;
    look_soon();
  }

  troupe::task<> on_message(troupe::socket& s, std::string_view line) {
    const std::string_view command = line.starts_with('/') ? word(line) : std::string_view();
    std::string text = rest(line.substr(command.size()));
    if (command == "/who") {
      s.send(people_);
    } else if (command == "/w" || command == "/msg") {
      co_await whisper(s, text);
    } else if (!command.empty() && command != "/g" && command != "/group" && command != "/a" &&
               command != "/all") {
      s.send(text_of(notice{.text = help}));
    } else if (!text.empty()) {
      const bool is_for_shard = command.starts_with("/g");
      said m{.heard_by = is_for_shard ? "shard" : "all", .from = s.uid(), .text = std::move(text)};
      const std::string sent = text_of(m);
      if (is_for_shard) {
        s.announce(sent, troupe::audience::everyone);
      } else {
        co_await s.broadcast(sent, troupe::audience::everyone);
      }
    }
  }

  std::string on_gossip(std::string_view asked) {
    if (asked == "who") return text_of(own_people());
    look_soon();
    return {};
  }

private:
  static std::string_view word(std::string_view line) { return line.substr(0, line.find(' ')); }
  static std::string rest(std::string_view line) {
    const std::size_t first = line.find_first_not_of(' ');
    return std::string(first == std::string_view::npos ? "" : line.substr(first));
  }

  std::vector<person> own_people() const {
    std::vector<person> all;
    for (const auto& [number, name] : names_) all.push_back({name, here_.id()});
    return all;
  }

  // However many come and go, a shard asks the others who is there once in a while, and never twice
  // at a time.
  void look_soon() {
    if (std::exchange(is_to_look_, true) || looks_) return;
    ctx_.after(std::chrono::milliseconds(100), [this] { return look(); });
  }

  troupe::task<> look() {
    is_to_look_ = false;
    looks_ = true;
    if (std::exchange(tells_others_, false)) {
      const std::vector<troupe::gossip_reply> heard =
          co_await here_.gossip("somebody came or went");
      static_cast<void>(heard);
    }
    people all;
    all.list = own_people();
    const std::vector<troupe::gossip_reply> replies = co_await here_.gossip("who");
    for (const troupe::gossip_reply& r : replies) {
      if (!r.answer) continue;  // a shard that is going; its people will come again
      const auto theirs = troupe::from_json<std::vector<person>>(*r.answer);
      if (theirs) all.list.insert(all.list.end(), theirs->begin(), theirs->end());
    }
    std::string text = text_of(all);
    if (text != people_) {
      people_ = std::move(text);
      here_.announce(people_);
    }
    looks_ = false;
    if (std::exchange(is_to_look_, false)) look_soon();
  }

  static troupe::task<> whisper(troupe::socket& s, std::string_view line) {
    const std::string to(word(line));
    const said m{
        .heard_by = "one", .from = s.uid(), .to = to, .text = rest(line.substr(to.size()))};
    if (m.to.empty() || m.text.empty()) {
      s.send(text_of(notice{.text = "/w, a name, and what you have to say."}));
      co_return;
    }
    const std::string text = text_of(m);
    const troupe::delivery told = co_await s.whisper(to, text);
    if (told.sockets == 0) {
      s.send(text_of(notice{.text = "There is no " + to + " here."}));
    } else if (to != s.uid()) {
      s.send(text);
    }
  }

  troupe::context& ctx_;
  troupe::shard here_;
  std::map<std::uint64_t, std::string> names_;  // of the sockets that this has opened
  std::string people_ = text_of(people());      // what was found out last, for browsers
  bool is_to_look_ = false;
  bool looks_ = false;
  bool tells_others_ = false;
};

using rooms = troupe::gateway<lobby, room>;

troupe::response shards_of(rooms& all, std::string_view name) {
  std::vector<shard_line> lines;
  for (const troupe::shard_info& s : all.shards(name))
    lines.push_back({s.id, s.connections, lobby::limit});
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
  if (parsed.ec != std::errc() || parsed.ptr != all.data() + all.size() || port == 0) {
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
