// SPDX-License-Identifier: MIT
// Does what it is asked to: work, probing, and everything that a module must not do.

#include <arpa/inet.h>
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <new>
#include <string>
#include <vector>

#include "raw_module.hpp"

extern char** environ;

namespace {

using raw::settle;

// -- Work ----------------------------------------------------------------------------------------

void echo(troupe_module_call* c) { c->settle(c, troupe_outcome_value, 0, c->payload); }
void size_of(troupe_module_call* c) {
  std::uint64_t sum = 0;
  for (std::uint64_t i = 0; i < c->payload.size; i += 4096) sum += c->payload.data[i];
  settle(c, std::to_string(c->payload.size) + ":" + std::to_string(sum));
}
void big(troupe_module_call* c) {
  const std::string text(std::stoull(std::string(raw::text_of(c->payload))), 'b');
  settle(c, text);
}
void who(troupe_module_call* c) {
  settle(c, std::string(raw::text_of(c->key)) + "|" + std::string(raw::text_of(c->caller)));
}
void fail(troupe_module_call* c) {
  settle(c, std::string_view("std::runtime_error\0no", 21), troupe_outcome_exception);
}

int counter = 0;
void count(troupe_module_call* c) { settle(c, std::to_string(++counter)); }

// Computes for so many milliseconds.
void work(troupe_module_call* c) {
  const auto until = raw::host->now(raw::host->self) +
                     std::stoll(std::string(raw::text_of(c->payload))) * 1'000'000;
  while (raw::host->now(raw::host->self) < until) {
  }
  settle(c, "worked");
}

// Calls that are kept until `release` or a stop.
std::map<std::uint64_t, troupe_module_call*> kept;
void keep(troupe_module_call* c) { kept.emplace(c->id, c); }
// One that does not stop either.
std::vector<troupe_module_call*> held;
void hold(troupe_module_call* c) { held.push_back(c); }
void release(troupe_module_call* c) {
  for (auto& [id, call] : kept) settle(call, "released");
  kept.clear();
  for (troupe_module_call* const call : held) settle(call, "released");
  held.clear();
  settle(c, "done");
}

std::multimap<std::int64_t, troupe_module_call*> timed;
void later(troupe_module_call* c) {
  const std::int64_t at =
      raw::host->now(raw::host->self) + std::stoll(std::string(raw::text_of(c->payload))) * 1000000;
  timed.emplace(at, c);
  raw::host->wake_at(raw::host->self, at);
}
void posted(troupe_module_call* c) {
  raw::host->post(
      raw::host->self,
      [](void* context) { settle(static_cast<troupe_module_call*>(context), "posted"); }, c);
}

// Payload: module, zero, payload. Answers outcome, code, reply.
void ask(troupe_module_call* c) {
  const std::string_view all = raw::text_of(c->payload);
  const std::size_t cut = all.find('\0');
  raw::host->call(
      raw::host->self, raw::bytes_of(all.substr(0, cut)), raw::bytes_of("v9"),
      raw::bytes_of("func"), 0, raw::bytes_of("key"), raw::bytes_of(all.substr(cut + 1)), INT64_MAX,
      [](void* context, std::uint32_t outcome, std::uint32_t code, troupe_bytes reply) {
        settle(static_cast<troupe_module_call*>(context), std::to_string(outcome) + "," +
                                                              std::to_string(code) + "," +
                                                              std::string(raw::text_of(reply)));
      },
      c);
}

// -- Probing -------------------------------------------------------------------------------------

std::string outcome_of(long result) {
  return result >= 0 ? "ok" : std::string("errno ") + std::to_string(errno);
}

void descriptors(troupe_module_call* c) {
  std::string open;
  for (int i = 0; i != 256; ++i) {
    if (lseek(i, 0, SEEK_CUR) >= 0 || errno != EBADF) open += std::to_string(i) + " ";
  }
  settle(c, open);
}
void environment(troupe_module_call* c) {
  std::string all;
  for (char** one = environ; one != nullptr && *one != nullptr; ++one)
    all += std::string(*one) + ";";
  settle(c, all);
}
void ids(troupe_module_call* c) {
  settle(c, std::to_string(getpid()) + " " + std::to_string(getuid()) + " " +
                std::to_string(geteuid()));
}
// Payload: a path. Opens it for reading and returns what is in it.
void read_file(troupe_module_call* c) {
  const std::string path(raw::text_of(c->payload));
  const int file = open(path.c_str(), O_RDONLY);
  if (file < 0) return settle(c, "errno " + std::to_string(errno));
  char text[256];
  const ssize_t length = read(file, text, sizeof text);
  close(file);
  settle(c, length < 0 ? outcome_of(length) : std::string(text, static_cast<std::size_t>(length)));
}
void write_file(troupe_module_call* c) {
  const std::string path(raw::text_of(c->payload));
  settle(c, outcome_of(open(path.c_str(), O_WRONLY | O_CREAT, 0600)));
}
void list_directory(troupe_module_call* c) {
  const std::string path(raw::text_of(c->payload));
  DIR* const directory = opendir(path.c_str());
  if (directory == nullptr) return settle(c, "errno " + std::to_string(errno));
  std::string names;
  while (const dirent* one = readdir(directory)) names += std::string(one->d_name) + " ";
  closedir(directory);
  settle(c, names);
}
void stat_file(troupe_module_call* c) {
  struct stat about;
  const std::string path(raw::text_of(c->payload));
  settle(c, outcome_of(stat(path.c_str(), &about)));
}
void limits(troupe_module_call* c) {
  std::string all;
  for (const auto which : {RLIMIT_DATA, RLIMIT_NOFILE, RLIMIT_CORE, RLIMIT_FSIZE, RLIMIT_NPROC}) {
    rlimit l{};
    if (getrlimit(which, &l) != 0) return settle(c, "errno " + std::to_string(errno));
    all += std::to_string(l.rlim_cur) + " ";
  }
  settle(c, all);
}
void make_code(troupe_module_call* c) {
  void* const page =
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  settle(c, page == MAP_FAILED ? "errno " + std::to_string(errno) : "ok");
}
void grow_stack(troupe_module_call* c) {
  void* const page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, 0);
  settle(c, page == MAP_FAILED ? "errno " + std::to_string(errno) : "ok");
}
void share_memory(troupe_module_call* c) {
  void* const page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  settle(c, page == MAP_FAILED ? "errno " + std::to_string(errno) : "ok");
}
void start_thread(troupe_module_call* c) {
  pthread_t thread;
  const int error =
      pthread_create(&thread, nullptr, [](void*) -> void* { return nullptr; }, nullptr);
  settle(c, error == 0 ? "ok" : "errno " + std::to_string(error));
}
void load_library(troupe_module_call* c) {
  void* const library = dlopen("libresolv.so.2", RTLD_NOW);
  settle(c, library != nullptr ? "ok" : "refused");
}
void leak_descriptors(troupe_module_call* c) {
  const std::string path(raw::text_of(c->payload));
  int opened = 0;
  while (opened < 10000 && open(path.c_str(), O_RDONLY | O_DIRECTORY) >= 0) ++opened;
  settle(c, std::to_string(opened) + " errno " + std::to_string(errno));
}
void close_descriptors(troupe_module_call* c) {
  for (int i = 0; i != 64; ++i) close(i);
  settle(c, "closed");
}

// -- Hostile acts --------------------------------------------------------------------------------

void loop(troupe_module_call*) {
  volatile std::uint64_t turns = 0;
  for (;;) {
    const std::uint64_t next = turns + 1;
    turns = next;
  }
}
void sleep_for_ever() {
  for (;;) {
    timespec t{3600, 0};
    nanosleep(&t, nullptr);
  }
}
void sleep_long(troupe_module_call*) { sleep_for_ever(); }
void crash(troupe_module_call*) {
  volatile int* volatile nowhere = nullptr;
  *nowhere = 1;
}
void abort_it(troupe_module_call*) { std::abort(); }
void exit_it(troupe_module_call*) { std::exit(3); }
void quick_exit_it(troupe_module_call*) { _exit(0); }
void throw_it(troupe_module_call*) { throw 1; }
void eat_memory(troupe_module_call* c) {
  std::vector<void*> blocks;
  std::size_t total = 0;
  try {
    for (;;) {
      constexpr std::size_t size = std::size_t{1} << 20;
      void* const block = ::operator new(size);
      std::memset(block, 1, size);
      blocks.push_back(block);
      total += size;
    }
  } catch (const std::bad_alloc&) {
  }
  for (void* const block : blocks) ::operator delete(block);
  settle(c, std::to_string(total >> 20));
}
void eat_memory_and_die(troupe_module_call*) {
  for (;;) std::memset(::operator new(std::size_t{1} << 20), 1, std::size_t{1} << 20);
}
void (*volatile deeper)(volatile char*) = nullptr;
void deep(volatile char* above) {
  volatile char here[4096];
  const char one = *above;
  here[0] = one;
  deeper(here);
  here[1] = 1;
}
void overflow_stack(troupe_module_call*) {
  volatile char start = 0;
  deeper = deep;
  deep(&start);
}
void fork_bomb(troupe_module_call*) {
  for (;;) {
    if (fork() < 0) break;
  }
}
void thread_bomb(troupe_module_call* c) {
  int started = 0;
  for (int i = 0; i != 1000; ++i) {
    pthread_t thread;
    if (pthread_create(&thread, nullptr, [](void*) -> void* { return nullptr; }, nullptr) == 0) {
      ++started;
    }
  }
  settle(c, std::to_string(started));
}
void open_socket(troupe_module_call* c) { settle(c, outcome_of(socket(AF_INET, SOCK_STREAM, 0))); }
void unix_socket(troupe_module_call* c) { settle(c, outcome_of(socket(AF_UNIX, SOCK_STREAM, 0))); }
void run_program(troupe_module_call* c) {
  char* const none[] = {nullptr};
  settle(c, outcome_of(execve("/bin/sh", none, none)));
}
void trace(troupe_module_call* c) { settle(c, outcome_of(ptrace(PTRACE_TRACEME, 0, 0, 0))); }
void kill_others(troupe_module_call* c) { settle(c, outcome_of(kill(-1, SIGKILL))); }
void mount_it(troupe_module_call* c) { settle(c, outcome_of(syscall(SYS_unshare, CLONE_NEWNS))); }
void old_calls(troupe_module_call* c) {
#if defined(__x86_64__)
  // The numbering of 32-bit programs: another list of calls behind the same instruction set.
  long result = 0;
  asm volatile("int $0x80" : "=a"(result) : "a"(20));
  settle(c, std::to_string(result));
#else
  settle(c, "none");
#endif
}
// Whoever sleeps at a shared word, moved to another one.
void move_sleepers(troupe_module_call* c) {
  static std::uint32_t words[2];
  settle(c, outcome_of(syscall(SYS_futex, &words[0], FUTEX_REQUEUE, 0, 1, &words[1], 0)));
}
// Asks, and asks again as soon as it is refused.
void ask_again(void*, std::uint32_t, std::uint32_t, troupe_bytes) {
  raw::host->call(raw::host->self, raw::bytes_of("forbidden"), {}, raw::bytes_of("f"), 1, {}, {},
                  INT64_MAX, ask_again, nullptr);
}
void pester(troupe_module_call*) {
  for (int i = 0; i != 100; ++i) ask_again(nullptr, 0, 0, {});
}
void raise_signal(troupe_module_call*) { raise(SIGTERM); }
// Goes on without a call: with short steps, or with one that never ends.
void burn_on(void*) {
  const auto until = raw::host->now(raw::host->self) + 1'000'000;
  while (raw::host->now(raw::host->self) < until) {
  }
  raw::host->post(raw::host->self, burn_on, nullptr);
}
void burn(troupe_module_call* c) {
  raw::host->post(raw::host->self, burn_on, nullptr);
  settle(c, "burning");
}
void hang_later(troupe_module_call* c) {
  raw::host->post(raw::host->self, [](void*) { sleep_for_ever(); }, nullptr);
  settle(c, "about to hang");
}
void ignore_signals(troupe_module_call*) {
  for (int i = 1; i != 64; ++i) signal(i, SIG_IGN);
  sleep_for_ever();
}
// Writes to all memory that it shares, wherever it is: found by what the host has put there.
void garbage(troupe_module_call* c);
void never(troupe_module_call*) {}

}  // namespace

// The symbol by which the tests let a module have the shared memory: where it is, is no secret to
// code of the same process, but there is no /proc to ask.
#include <troupe/function/sandbox/layout.hpp>

namespace {

namespace box = troupe::detail::sandbox;

/// The child's file is the mapping that is one and writable, of its size, which `mincore` tells
/// nothing of; it is found from the outside by walking back from the host's: both were mapped one
/// after the other, so they are neighbours.
box::child_file* find_child_file(const troupe_module_call* c) {
  const auto here = reinterpret_cast<std::uintptr_t>(c->payload.data);
  const std::uintptr_t host_size = box::whole_pages(box::file_size<box::host_file>);
  const std::uintptr_t child_size = box::whole_pages(box::file_size<box::child_file>);
  // The payload is in a cell of the host's file: its head, at a whole page, says that the module
  // may go.
  for (std::uintptr_t at = here & ~std::uintptr_t{4095}; here - at < host_size; at -= 4096) {
    auto* const file = reinterpret_cast<const box::host_file*>(at);
    const auto begin = reinterpret_cast<std::uintptr_t>(&file->requests[0]);
    const auto end = reinterpret_cast<std::uintptr_t>(&file->requests[box::cell_count]);
    if (here < begin || here >= end) continue;
    if (file->go.load(std::memory_order_relaxed) != 1) continue;
    // Mapped after the host's file, so below it.
    return reinterpret_cast<box::child_file*>(at - child_size);
  }
  return nullptr;
}

// Makes the event of the host block, empties it behind the host's back, and fills it.
void hold_event(troupe_module_call* c) {
  std::uint64_t count = 0;
  std::string all = "flags " + outcome_of(fcntl(3, F_SETFL, 0));
  all += ", read " + outcome_of(read(3, &count, sizeof count));
  settle(c, all);
}

void garbage(troupe_module_call* c) {
  box::child_file* const file = find_child_file(c);
  if (file == nullptr) return settle(c, "not found");
  const std::string how(raw::text_of(c->payload));
  const auto order = std::memory_order_seq_cst;
  const auto put = [&](std::uint32_t entry) {
    const std::uint32_t at = file->queue.tail.load(order);
    file->queue.entries[at % box::queue_length].store(entry, order);
    file->queue.tail.store(at + 1, order);
  };
  if (how == "tail") {
    file->queue.tail.store(file->queue.tail.load(order) + 1'000'000, order);
  } else if (how == "entry") {
    put(0xFFFF'FFFFu);
  } else if (how == "other cell") {
    put(box::to_entry(box::entry_kind::reply, 7));
  } else if (how == "long reply") {
    box::plain_cell<box::reply_head> out;
    out.head = {0, 0, box::largest_message, box::arena_size - 4096};
    file->replies[0].copy_from(&out, sizeof out.head);
    put(box::to_entry(box::entry_kind::reply, 0));
  } else if (how == "everything") {
    std::memset(static_cast<void*>(file), 0xA5, sizeof *file);
  } else if (how == "started again") {
    put(box::to_entry(box::entry_kind::started, box::start_cell));
  }
  // A reply of the ordinary kind would put the tail right again.
  const std::uint64_t one = 1;
  if (write(3, &one, sizeof one) < 0) settle(c, "no event");
}

}  // namespace

namespace raw {

const std::vector<entry> functions = {
    {"echo", echo},
    {"size_of", size_of},
    {"big", big},
    {"who", who},
    {"fail", fail},
    {"count", count},
    {"work", work},
    {"keep", keep},
    {"hold", hold},
    {"release", release},
    {"later", later},
    {"posted", posted},
    {"ask", ask},
    {"descriptors", descriptors},
    {"environment", environment},
    {"ids", ids},
    {"read_file", read_file},
    {"write_file", write_file},
    {"list_directory", list_directory},
    {"stat_file", stat_file},
    {"limits", limits},
    {"make_code", make_code},
    {"share_memory", share_memory},
    {"grow_stack", grow_stack},
    {"start_thread", start_thread},
    {"load_library", load_library},
    {"leak_descriptors", leak_descriptors},
    {"close_descriptors", close_descriptors},
    {"loop", loop},
    {"sleep", sleep_long},
    {"crash", crash},
    {"abort", abort_it},
    {"exit", exit_it},
    {"exit_0", quick_exit_it},
    {"throw", throw_it},
    {"eat_memory", eat_memory},
    {"eat_memory_and_die", eat_memory_and_die},
    {"overflow_stack", overflow_stack},
    {"fork_bomb", fork_bomb},
    {"thread_bomb", thread_bomb},
    {"open_socket", open_socket},
    {"unix_socket", unix_socket},
    {"run_program", run_program},
    {"trace", trace},
    {"kill_others", kill_others},
    {"unshare", mount_it},
    {"old_calls", old_calls},
    {"raise", raise_signal},
    {"burn", burn},
    {"hang_later", hang_later},
    {"ignore_signals", ignore_signals},
    {"garbage", garbage},
    {"pester", pester},
    {"hold_event", hold_event},
    {"move_sleepers", move_sleepers},
    {"never", never},
};

void on_stop(std::uint64_t id) {
  const auto found = kept.find(id);
  if (found == kept.end()) return;
  settle(found->second, "stopped");
  kept.erase(found);
}
void on_wake() {
  const std::int64_t now = host->now(host->self);
  while (!timed.empty() && timed.begin()->first <= now) {
    settle(timed.begin()->second, "woken");
    timed.erase(timed.begin());
  }
  if (!timed.empty()) host->wake_at(host->self, timed.begin()->first);
}
void on_create() {}
void on_close(void (*ended)(void*), void* context) {
  for (auto& [id, call] : kept) settle(call, "closed");
  kept.clear();
  ended(context);
}

}  // namespace raw

TROUPE_RAW_MODULE("subject")
