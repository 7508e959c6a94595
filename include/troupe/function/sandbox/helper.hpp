// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// The helper: a small process of one thread that forks the children, because the running program,
/// which has threads, cannot.
///
/// Layer: function. Linux. Does what the host says (helper_messages.hpp) until the host is gone. No
/// code of a module ever runs in it. It is the first process of a namespace, where the kernel gives
/// one: when it ends, however it ends, all of its children do.

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <troupe/function/sandbox/confine.hpp>
#include <troupe/function/sandbox/descriptor.hpp>
#include <troupe/function/sandbox/helper_messages.hpp>
#include <troupe/function/sandbox/layout.hpp>
#include <troupe/function/sandbox/level.hpp>
#include <troupe/function/sandbox/module_runner.hpp>
#include <troupe/function/sandbox/shared_memory.hpp>

namespace troupe::detail::sandbox {

/// Makes directories below an own root, and takes them away again.
inline void make_directories(const std::string& root, std::string_view path) noexcept {
  for (std::size_t end = 1; end < path.size();) {
    end = (std::min)(path.find('/', end), path.size());
    static_cast<void>(::mkdir((root + std::string(path.substr(0, end))).c_str(), 0755));
    ++end;
  }
}
inline void remove_directories(const std::string& root, std::string_view path) noexcept {
  while (path.size() > 1) {
    static_cast<void>(::rmdir((root + std::string(path)).c_str()));
    path = path.substr(0, path.rfind('/'));
  }
}

/// The libraries of modules, copied once into the helper's own file system, so that all children of
/// a module share the pages. Those that are not in use are dropped, the oldest first.
class module_files {
public:
  static constexpr std::size_t unused_kept = 16;

  /// The path of a copy of `file`; empty: there is no room. `number` is for `release`.
  std::string acquire(const descriptor& file, std::uint64_t size, std::uint64_t& number);
  void release(std::uint64_t number) noexcept;

private:
  struct entry {
    std::uint64_t number;
    ::ino_t inode;
    unsigned users;
    // Keeps the number of the inode from being used again.
    descriptor original;
  };

  static std::string path_of(std::uint64_t number) { return "/m/" + std::to_string(number); }
  static bool copy(int from, const std::string& path, std::uint64_t size) noexcept;
  void drop_unused() noexcept;

  std::vector<entry> entries_;  // the least recently acquired first
  std::uint64_t next_ = 1;
};

inline std::string module_files::acquire(const descriptor& file, std::uint64_t size,
                                         std::uint64_t& number) {
  struct ::stat about{};
  if (::fstat(file.get(), &about) != 0) return {};
  const auto known = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const entry& e) { return e.inode == about.st_ino; });
  if (known != entries_.end()) {
    ++known->users;
    number = known->number;
    std::rotate(known, known + 1, entries_.end());
    return path_of(number);
  }
  number = next_++;
  const std::string path = path_of(number);
  if (!copy(file.get(), path, size)) {
    ::unlink(path.c_str());
    return {};
  }
  entries_.push_back({number, about.st_ino, 1, descriptor(::dup(file.get()))});
  drop_unused();
  return path;
}

inline bool module_files::copy(int from, const std::string& path, std::uint64_t size) noexcept {
  const descriptor to(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444));
  if (!to) return false;
  ::off_t at = 0;
  while (static_cast<std::uint64_t>(at) < size) {
    const auto left = static_cast<std::size_t>(size - static_cast<std::uint64_t>(at));
    if (::sendfile(to.get(), from, &at, left) <= 0) return false;
  }
  return true;
}

inline void module_files::release(std::uint64_t number) noexcept {
  for (entry& e : entries_) {
    if (e.number == number) --e.users;
  }
  drop_unused();
}

inline void module_files::drop_unused() noexcept {
  auto unused = static_cast<std::size_t>(
      std::count_if(entries_.begin(), entries_.end(), [](const entry& e) { return e.users == 0; }));
  for (auto e = entries_.begin(); e != entries_.end() && unused > unused_kept;) {
    if (e->users != 0) {
      ++e;
      continue;
    }
    ::unlink(path_of(e->number).c_str());
    e = entries_.erase(e);
    --unused;
  }
}

/// One process that forks others on request.
class helper {
public:
  /// Does all of it; does not return.
  [[noreturn]] static void run();

private:
  struct child {
    std::uint64_t name;  // the host's word for it
    ::pid_t process;
    std::uint64_t module;  // of files_; 0: none
    std::string root;
    std::string target;
  };
  /// What one child needs, on its way into it.
  struct order_of_child {
    spawn_message message{};
    descriptor files[descriptors_per_message];
    std::string root;
  };

  static bool leave_descriptors() noexcept;
  static bool own_user_namespace() noexcept;
  static bool own_process_namespace() noexcept;
  static void preload() noexcept;
  bool own_root();
  void measure() noexcept;
  sandbox_level probe();

  void serve();
  bool take_order();
  void spawn(order_of_child& wanted);
  [[noreturn]] void become_child(order_of_child& wanted) noexcept;
  void run_module(order_of_child& wanted);
  confinement wish_of(const order_of_child& wanted) const noexcept;
  void reap();
  void forget(const child& c) noexcept;
  static void say(const helper_message& what, int attached = -1) noexcept {
    static_cast<void>(
        send_message(helper_socket, &what, sizeof what, &attached, attached >= 0 ? 1 : 0));
  }

  module_files files_;
  std::vector<child> children_;
  descriptor signals_;
  bool has_root_ = false;
  bool has_processes_ = false;
  bool was_root_ = false;
  bool is_clean_ = false;            // no descriptor of the host is left
  std::uint64_t own_memory_ = 0;     // bytes of private memory that a child begins with
  std::uint64_t own_addresses_ = 0;  // bytes of addresses, the same
};

// -- Becoming a helper ---------------------------------------------------------------------------

/// False: descriptors of the host may be left.
inline bool helper::leave_descriptors() noexcept {
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int i = 0; i != 3; ++i) {
    if (null < 0 || ::dup2(null, i) < 0) ::_exit(122);  // those of the host are for no module
  }
  if (null > helper_socket) ::close(null);
  static_cast<void>(::fcntl(helper_socket, F_SETFD, FD_CLOEXEC));
  return close_from(helper_socket + 1);
}

inline bool write_file(const char* path, const std::string& text) noexcept {
  const descriptor file(::open(path, O_WRONLY | O_CLOEXEC));
  return file &&
         ::write(file.get(), text.data(), text.size()) == static_cast<::ssize_t>(text.size());
}

/// An ordinary user has the rights that the rest needs in a user namespace of its own only.
inline bool helper::own_user_namespace() noexcept {
  const auto user = std::to_string(::geteuid());
  const auto group = std::to_string(::getegid());
  if (::unshare(CLONE_NEWUSER) != 0) return false;
  write_file("/proc/self/setgroups", "deny");
  return write_file("/proc/self/uid_map", user + ' ' + user + " 1") &&
         write_file("/proc/self/gid_map", group + ' ' + group + " 1");
}

/// Goes on in the first process of a new namespace. This one only waits for its end, and takes it
/// along when it is killed.
inline bool helper::own_process_namespace() noexcept {
  if (::unshare(CLONE_NEWPID) != 0) return false;
  const ::pid_t inner = ::fork();
  if (inner == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    return true;
  }
  if (inner < 0) ::_exit(1);
  ::close(helper_socket);
  int status = 0;
  while (::waitpid(inner, &status, 0) < 0 && errno == EINTR) {
  }
  ::_exit(0);
}

/// What modules need of the system: mapped before the file system is out of reach. What is missing
/// here is missing on the machine, or linked into the helper.
inline void helper::preload() noexcept {
  for (const char* name :
       {"libstdc++.so.6", "libgcc_s.so.1", "libm.so.6", "libc++.so.1", "libc++abi.so.1",
        "libunwind.so.1", "libatomic.so.1", "libpthread.so.0", "libdl.so.2", "librt.so.1"}) {
    static_cast<void>(::dlopen(name, RTLD_NOW | RTLD_LOCAL));
  }
}

/// A file system in memory as root; the old one stays at `old_root`, out of reach of the children.
inline bool helper::own_root() {
  if (::unshare(CLONE_NEWNS) != 0) return false;
  if (::mount(nullptr, "/", nullptr, MS_PRIVATE | MS_REC, nullptr) != 0) return false;
  for (const char* place : {"/tmp", "/dev/shm", "/var", "/usr"}) {
    if (::mount("troupe", place, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755") != 0) continue;
    const std::string root = place;
    if (::mkdir((root + old_root).c_str(), 0700) == 0 &&
        ::mkdir((root + "/m").c_str(), 0755) == 0 && ::mkdir((root + "/c").c_str(), 0755) == 0 &&
        ::syscall(SYS_pivot_root, place, (root + old_root).c_str()) == 0 && ::chdir("/") == 0) {
      return true;
    }
    static_cast<void>(::umount2(place, MNT_DETACH));
  }
  return false;
}

inline void helper::measure() noexcept {
  const descriptor file(::open("/proc/self/statm", O_RDONLY | O_CLOEXEC));
  char text[256] = {};
  if (!file || ::read(file.get(), text, sizeof text - 1) <= 0) return;
  unsigned long long pages[6] = {};
  if (std::sscanf(text, "%llu %llu %llu %llu %llu %llu", &pages[0], &pages[1], &pages[2], &pages[3],
                  &pages[4], &pages[5]) != 6) {
    return;
  }
  own_addresses_ = pages[0] * page_size;
  own_memory_ = pages[5] * page_size;
}

/// What the kernel gives: tried by a child that does nothing else.
inline sandbox_level helper::probe() {
  void* const page =
      ::mmap(nullptr, page_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return sandbox_level();
  order_of_child wanted;
  wanted.message.memory = std::uint64_t{64} << 20;
  wanted.message.files = 4;
  if (has_root_) {
    wanted.root = "/c/0";
    static_cast<void>(::mkdir(wanted.root.c_str(), 0755));
  }
  const ::pid_t process = ::fork();
  if (process == 0) {
    sandbox_level level = confine(wish_of(wanted), nullptr);
    if (!is_clean_) level = level - sandbox_part::own_process;
    if (has_processes_) level = level | sandbox_part::process_namespace;
    const filter_wish filter{static_cast<std::uint32_t>(::getpid()), child_event, false, false};
    if (install_filter(filter) && install_filter_after_load(filter)) {
      level = level | sandbox_part::system_call_filter;
    }
    *static_cast<volatile std::uint32_t*>(page) = level.bits();
    ::_exit(0);
  }
  int status = 0;
  while (process > 0 && ::waitpid(process, &status, 0) < 0 && errno == EINTR) {
  }
  const sandbox_level level(*static_cast<const volatile std::uint32_t*>(page));
  ::munmap(page, page_size);
  if (has_root_) static_cast<void>(::rmdir(wanted.root.c_str()));
  return level;
}

inline void helper::run() {
  const bool is_clean = leave_descriptors();
  helper self;
  self.is_clean_ = is_clean;
  self.was_root_ = ::geteuid() == 0;
  if (!self.was_root_) static_cast<void>(own_user_namespace());
  self.has_processes_ = own_process_namespace();
  self.measure();
  preload();
  self.has_root_ = self.own_root();
  const sandbox_level level = self.probe();
  say({helper_says::hello, level.bits(), 0, static_cast<std::int32_t>(layout_version), 0});
  self.serve();
  ::_exit(0);
}

// -- Serving -------------------------------------------------------------------------------------

/// Until the host is gone: then its end of the socket is, too.
inline void helper::serve() {
  sigset_t ended;
  ::sigemptyset(&ended);
  ::sigaddset(&ended, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &ended, nullptr);
  signals_.reset(::signalfd(-1, &ended, SFD_CLOEXEC | SFD_NONBLOCK));
  for (;;) {
    ::pollfd events[2] = {{helper_socket, POLLIN, 0}, {signals_.get(), POLLIN, 0}};
    if (::poll(events, 2, -1) < 0 && errno != EINTR) return;
    if (events[1].revents != 0) reap();
    if (events[0].revents != 0 && !take_order()) return;
  }
}

inline bool helper::take_order() {
  order_of_child wanted;
  received got = receive_message(helper_socket, &wanted.message, sizeof wanted.message, 0);
  if (got.size <= 0) return false;
  std::move(std::begin(got.descriptors), std::end(got.descriptors), std::begin(wanted.files));
  if (got.size == sizeof wanted.message && wanted.message.end != 0) {
    for (const child& c : children_) {
      if (c.name == wanted.message.child) static_cast<void>(::kill(c.process, SIGKILL));
    }
    return true;
  }
  if (got.size != sizeof wanted.message || !wanted.files[3]) return true;
  wanted.message.source[spawn_message::longest_path - 1] = 0;
  wanted.message.target[spawn_message::longest_path - 1] = 0;
  spawn(wanted);
  return true;
}

inline void helper::spawn(order_of_child& wanted) {
  child made{wanted.message.child, -1, 0, {}, wanted.message.target};
  if (has_root_) {
    const std::string file =
        files_.acquire(wanted.files[3], wanted.message.module_size, made.module);
    made.root = "/c/" + std::to_string(made.name);
    static_cast<void>(::mkdir(made.root.c_str(), 0755));
    if (file.empty() || ::link(file.c_str(), (made.root + "/module").c_str()) != 0) {
      say({helper_says::not_spawned, 0, made.name, file.empty() ? ENOSPC : errno, 0});
      return forget(made);
    }
    make_directories(made.root, made.target);
    wanted.root = made.root;
  }
  made.process = ::fork();
  if (made.process == 0) become_child(wanted);
  const descriptor handle(
      made.process > 0 ? static_cast<int>(::syscall(SYS_pidfd_open, made.process, 0U)) : -1);
  if (!handle) {
    say({helper_says::not_spawned, 0, made.name, errno, 0});
    if (made.process > 0) ::kill(made.process, SIGKILL);
    if (made.process <= 0) return forget(made);
    made.name = 0;  // its end is of no interest
  } else {
    say({helper_says::spawned, 0, made.name, 0, 0}, handle.get());
  }
  children_.push_back(std::move(made));
}

inline void helper::reap() {
  signalfd_siginfo drained;
  while (::read(signals_.get(), &drained, sizeof drained) > 0) {
  }
  for (;;) {
    siginfo_t about{};
    if (::waitid(P_ALL, 0, &about, WEXITED | WNOHANG) != 0 || about.si_pid == 0) return;
    const auto found = std::find_if(children_.begin(), children_.end(),
                                    [&](const child& c) { return c.process == about.si_pid; });
    if (found == children_.end()) continue;
    if (found->name != 0) {
      say({helper_says::exited, 0, found->name, about.si_code, about.si_status});
    }
    forget(*found);
    children_.erase(found);
  }
}

/// Takes away what was made for it in the file system.
inline void helper::forget(const child& c) noexcept {
  if (c.module != 0) files_.release(c.module);
  if (c.root.empty()) return;
  ::unlink((c.root + "/module").c_str());
  remove_directories(c.root, c.target);
  ::rmdir(c.root.c_str());
}

// -- In the child --------------------------------------------------------------------------------

inline confinement helper::wish_of(const order_of_child& wanted) const noexcept {
  const spawn_message& m = wanted.message;
  confinement wish;
  wish.root = wanted.root.c_str();
  wish.source = m.source;
  wish.target = m.target;
  wish.network = m.network != 0;
  wish.niceness = static_cast<int>(m.niceness);
  wish.change_user = was_root_;
  if (own_memory_ != 0) {
    wish.memory = own_memory_ + m.memory;
    // What is not counted as memory takes addresses all the same: the shared files, the library
    // and its libraries, and room for holes between them.
    constexpr std::uint64_t holes = std::uint64_t{256} << 20;
    wish.address_space = own_addresses_ + m.memory + file_size<host_file> + file_size<child_file> +
                         2 * m.module_size + holes;
  }
  wish.descriptors = static_cast<std::uint32_t>(child_module) + 1 + m.files;
  return wish;
}

inline void helper::become_child(order_of_child& wanted) noexcept {
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  try {
    run_module(wanted);
    ::_exit(0);
  } catch (...) {
    ::_exit(124);
  }
}

/// An allocation that fails is told to the host before the module sees it: what comes of it may be
/// anything.
inline atomic<std::uint32_t>*& out_of_memory_word() noexcept {
  static atomic<std::uint32_t>* word = nullptr;
  return word;
}

inline void helper::run_module(order_of_child& wanted) {
  const mapping host = mapping::of(wanted.files[0].get(), file_size<host_file>, PROT_READ);
  const mapping own =
      mapping::of(wanted.files[1].get(), file_size<child_file>, PROT_READ | PROT_WRITE);
  if (!host || !own) ::_exit(123);
  // Above all that was there, then down to their places: nothing is overwritten on the way.
  const int event = ::fcntl(wanted.files[2].get(), F_DUPFD, 64);
  const int module = ::fcntl(wanted.files[3].get(), F_DUPFD, 64);
  ::dup2(event, child_event);
  ::dup2(module, child_module);
  const bool is_clean = close_from(child_module + 1) && is_clean_;
  for (descriptor& one : wanted.files) static_cast<void>(one.release());
  static_cast<void>(signals_.release());

  const child_memory memory{reinterpret_cast<const host_file*>(host.data()),
                            reinterpret_cast<child_file*>(own.data())};
  // Whoever is short of memory ends modules first.
  static_cast<void>(
      write_file(has_root_ ? "/old/proc/self/oom_score_adj" : "/proc/self/oom_score_adj", "1000"));
  module_runner runner(memory, child_event);
  sandbox_level level = confine(wish_of(wanted), "/module");
  if (!is_clean) level = level - sandbox_part::own_process;
  if (has_processes_) level = level | sandbox_part::process_namespace;
  const bool network = wanted.message.network != 0;
  const filter_wish filter{static_cast<std::uint32_t>(::getpid()), child_event,
                           wanted.message.source[0] != 0, network};
  if (install_filter(filter)) level = level | sandbox_part::system_call_filter;
  memory.child->level.store(level.bits(), order::relaxed);

  while (memory.host->go.load(order::acquire) == 0) shared_wait(memory.host->go, 0, INT64_MAX);
  const sandbox_level required = without_permitted(sandbox_level(wanted.message.required), network);
  if (!level.covers(required)) {
    return runner.refuse("the sandbox lacks: " + to_string(required - level));
  }
  out_of_memory_word() = &memory.child->out_of_memory;
  std::set_new_handler([] {
    out_of_memory_word()->store(1, order::relaxed);
    throw std::bad_alloc();
  });
  const bool in_root = level.has(sandbox_part::empty_root);
  if (!runner.load(in_root ? "/module" : "/proc/self/fd/4")) return;
  if (level.has(sandbox_part::system_call_filter) &&
      (!install_filter_after_load(filter) || !refuses_code(child_module))) {
    return runner.refuse("the second filter of system calls cannot be installed");
  }
  ::close(child_module);
  runner.serve();
}

}  // namespace troupe::detail::sandbox
