// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Which system calls a module may make: a list; all others end its process.
///
/// Layer: function. Linux, x86-64 and AArch64; elsewhere there is no filter.
///
/// Three answers: allowed, refused with an error (what well-meaning code of the C library tries and
/// can do without: opening files, starting threads), and the end (sockets, processes, tracing: what
/// no module does by accident).

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fcntl.h>
#include <sched.h>

namespace troupe::detail::sandbox {

/// What a filter depends on.
struct filter_wish {
  std::uint32_t process;          ///< Its own number: it may send signals to itself.
  std::uint32_t last_descriptor;  ///< Up to this one they are ours: written to, never closed.
  bool may_read;
  bool network;
};

/// A program for the kernel's filter machine, built front to back.
///
/// Thread safety: none.
class filter_program {
public:
  static constexpr std::size_t longest = 512;

  /// Installs it for this thread. Needs no_new_privs. False: the kernel refuses, or it is too long.
  bool install() noexcept {
    if (too_long_) return false;
    const sock_fprog program{static_cast<unsigned short>(length_), code_};
    return ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0U, &program) == 0;
  }

  /// Ends the process for calls of another machine's numbering; then looks at the number.
  void begin() noexcept {
    load(offsetof(seccomp_data, arch));
    skip_if(BPF_JEQ, architecture, 1);
    answer(kill);
    load(offsetof(seccomp_data, nr));
#if defined(__x86_64__)
    constexpr std::uint32_t x32 = 0x4000'0000;
    skip_unless(BPF_JGE, x32, 1);
    answer(kill);
#endif
  }
  void allow(std::initializer_list<long> numbers) noexcept { all(numbers, allowed); }
  void refuse(int error, std::initializer_list<long> numbers) noexcept {
    all(numbers, refused(error));
  }

  /// For call `number`: what the conditions that follow, up to `otherwise`, do not settle gets the
  /// answer of `otherwise`.
  void of_call(long number) noexcept {
    skip_if(BPF_JEQ, static_cast<std::uint32_t>(number), 1);
    open_ = length_;
    push(BPF_STMT(BPF_JMP | BPF_JA, 0));  // over what follows; filled in by `otherwise`
  }
  /// Argument `n` has none of `bits`: allowed.
  void allow_without(int n, std::uint32_t bits) noexcept {
    load_argument(n);
    skip_if(BPF_JSET, bits, 1);
    answer(allowed);
  }
  /// Argument `n` has one of `bits`: refused.
  void refuse_with(int n, std::uint32_t bits, int error) noexcept {
    load_argument(n);
    skip_unless(BPF_JSET, bits, 1);
    answer(refused(error));
  }
  /// Argument `n` has one of `bits`, and argument `m` one of `others`: refused.
  void refuse_with_both(int n, std::uint32_t bits, int m, std::uint32_t others,
                        int error) noexcept {
    load_argument(n);
    skip_unless(BPF_JSET, bits, 3);
    load_argument(m);
    skip_unless(BPF_JSET, others, 1);
    answer(refused(error));
  }
  void allow_up_to(int n, std::uint32_t largest) noexcept {
    load_argument(n);
    skip_if(BPF_JGT, largest, 1);
    answer(allowed);
  }
  void refuse_up_to(int n, std::uint32_t largest, int error) noexcept {
    load_argument(n);
    skip_if(BPF_JGT, largest, 1);
    answer(refused(error));
  }
  void allow_equal(int n, std::uint32_t value) noexcept {
    load_argument(n);
    skip_unless(BPF_JEQ, value, 1);
    answer(allowed);
  }
  /// Argument `n` without `bits` is one of `values`.
  void allow_apart_from(int n, std::uint32_t bits,
                        std::initializer_list<std::uint32_t> values) noexcept {
    load_argument(n);
    push(BPF_STMT(BPF_ALU | BPF_AND | BPF_K, ~bits));
    for (const std::uint32_t value : values) {
      skip_unless(BPF_JEQ, value, 1);
      answer(allowed);
    }
  }
  /// A pointer that is null.
  void allow_null(int n) noexcept {
    load_argument(n);
    skip_unless(BPF_JEQ, 0, 3);
    load(argument(n) + 4);
    skip_unless(BPF_JEQ, 0, 1);
    answer(allowed);
  }
  void otherwise_allow() noexcept { otherwise(allowed); }
  void otherwise_refuse(int error) noexcept { otherwise(refused(error)); }
  void otherwise_end() noexcept { otherwise(kill); }

  void end(bool kills) noexcept { answer(kills ? kill : allowed); }

private:
  static constexpr std::uint32_t allowed = SECCOMP_RET_ALLOW;
  static constexpr std::uint32_t kill = SECCOMP_RET_KILL_PROCESS;
  static constexpr std::uint32_t refused(int error) noexcept {
    return SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(error);
  }
#if defined(__x86_64__)
  static constexpr std::uint32_t architecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
  static constexpr std::uint32_t architecture = AUDIT_ARCH_AARCH64;
#else
  static constexpr std::uint32_t architecture = 0;
#endif

  /// The lower half; both machines are little-endian.
  static std::uint32_t argument(int n) noexcept {
    return static_cast<std::uint32_t>(offsetof(seccomp_data, args)) +
           static_cast<std::uint32_t>(n) * 8;
  }

  void push(sock_filter instruction) noexcept {
    if (length_ == longest) {
      too_long_ = true;
      return;
    }
    code_[length_++] = instruction;
  }
  void load(std::size_t offset) noexcept {
    push(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset)));
  }
  void load_argument(int n) noexcept { load(argument(n)); }
  void answer(std::uint32_t value) noexcept { push(BPF_STMT(BPF_RET | BPF_K, value)); }
  void skip_if(int how, std::uint32_t value, unsigned char count) noexcept {
    push(BPF_JUMP(static_cast<unsigned short>(BPF_JMP | how | BPF_K), value, count, 0));
  }
  void skip_unless(int how, std::uint32_t value, unsigned char count) noexcept {
    push(BPF_JUMP(static_cast<unsigned short>(BPF_JMP | how | BPF_K), value, 0, count));
  }
  void all(std::initializer_list<long> numbers, std::uint32_t value) noexcept {
    for (const long number : numbers) {
      skip_unless(BPF_JEQ, static_cast<std::uint32_t>(number), 1);
      answer(value);
    }
  }
  void otherwise(std::uint32_t value) noexcept {
    answer(value);
    code_[open_].k = static_cast<std::uint32_t>(length_ - open_ - 1);
    load(offsetof(seccomp_data, nr));
  }

  sock_filter code_[longest];
  std::size_t length_ = 0;
  std::size_t open_ = 0;
  bool too_long_ = false;
};

/// What nobody gains anything by, and what a computation needs.
inline void allow_computing(filter_program& f, const filter_wish& wish) noexcept {
  f.of_call(SYS_futex);  // those that move sleepers would move threads of the host
  f.allow_apart_from(1, FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME,
                     {FUTEX_WAIT, FUTEX_WAKE, FUTEX_WAIT_BITSET, FUTEX_WAKE_BITSET});
  f.otherwise_end();
  f.allow({SYS_clock_gettime,
           SYS_munmap,
           SYS_madvise,
           SYS_mremap,
           SYS_brk,
           SYS_rt_sigreturn,
           SYS_rt_sigprocmask,
           SYS_rt_sigaction,
           SYS_sigaltstack,
           SYS_gettimeofday,
           SYS_clock_getres,
           SYS_clock_nanosleep,
           SYS_nanosleep,
           SYS_restart_syscall,
           SYS_sched_yield,
           SYS_getrandom,
           SYS_exit_group,
           SYS_exit,
           SYS_getpid,
           SYS_gettid,
           SYS_getuid,
           SYS_geteuid,
           SYS_getgid,
           SYS_getegid,
           SYS_pread64,
           SYS_lseek,
           SYS_fstat,
           SYS_set_robust_list,
           SYS_sched_getaffinity,
           SYS_getrusage,
           SYS_getcpu,
           SYS_uname,
           SYS_ppoll,
           SYS_pselect6});
#if defined(SYS_rseq)
  f.allow({SYS_rseq});
#endif
#if defined(__x86_64__)
  f.allow({SYS_poll, SYS_select, SYS_times, SYS_time});
#endif
  // The event is the host's, too: what is read from it, the host is not told.
  for (const long number : {SYS_read, SYS_readv}) {
    f.of_call(number);
    f.refuse_up_to(0, wish.last_descriptor, EBADF);
    f.otherwise_allow();
  }
  // Not counted against its limit: shared memory, stacks that grow, huge pages. And no page that is
  // or was written to becomes code: the library is mapped from its file.
  f.of_call(SYS_mmap);
  f.refuse_with(3, MAP_SHARED | MAP_GROWSDOWN | MAP_HUGETLB, EPERM);
  f.refuse_with_both(2, PROT_EXEC, 2, PROT_WRITE, EACCES);
  f.refuse_with_both(2, PROT_EXEC, 3, MAP_ANONYMOUS, EACCES);
  f.otherwise_allow();
  f.of_call(SYS_mprotect);
  f.refuse_with(2, PROT_EXEC, EACCES);
  f.otherwise_allow();
  f.of_call(SYS_tgkill);  // abort() and raise()
  f.allow_equal(0, wish.process);
  f.otherwise_end();
  f.of_call(SYS_prlimit64);  // reading its own
  f.allow_null(2);
  f.otherwise_refuse(EPERM);
  f.of_call(SYS_close);
  f.refuse_up_to(0, wish.last_descriptor, EPERM);
  f.otherwise_allow();
}

inline void allow_files(filter_program& f, const filter_wish& wish) noexcept {
  constexpr std::uint32_t not_only_reading =
      static_cast<std::uint32_t>(O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND | O_TMPFILE) &
      ~static_cast<std::uint32_t>(O_DIRECTORY);
  f.of_call(SYS_openat);
  f.allow_without(2, not_only_reading);
  f.otherwise_refuse(EACCES);
  f.allow({SYS_newfstatat});
#if defined(SYS_statx)
  f.refuse(ENOSYS, {SYS_statx});
#endif
  if (wish.may_read) f.allow({SYS_getdents64});
  f.refuse(EACCES, {SYS_readlinkat, SYS_faccessat, SYS_getcwd, SYS_chdir, SYS_unlinkat, SYS_mkdirat,
                    SYS_renameat2, SYS_getdents64, SYS_ftruncate, SYS_fallocate});
#if defined(SYS_faccessat2)
  f.refuse(EACCES, {SYS_faccessat2});
#endif
#if defined(__x86_64__)
  f.refuse(EACCES, {SYS_open, SYS_stat, SYS_lstat, SYS_access, SYS_readlink, SYS_creat, SYS_unlink,
                    SYS_mkdir, SYS_rename});
#endif
}

inline void allow_network(filter_program& f, const filter_wish& wish) noexcept {
  f.of_call(SYS_socket);
  f.allow_equal(0, AF_INET);
  f.allow_equal(0, AF_INET6);
  f.otherwise_refuse(EAFNOSUPPORT);
  f.allow({SYS_connect, SYS_bind, SYS_listen, SYS_accept4, SYS_sendto, SYS_recvfrom, SYS_sendmsg,
           SYS_recvmsg, SYS_setsockopt, SYS_getsockopt, SYS_getsockname, SYS_getpeername,
           SYS_shutdown, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_write, SYS_writev});
  f.of_call(SYS_fcntl);  // blocking or not: but for the event, whose flags are the host's, too
  f.allow_equal(1, F_GETFL);
  f.allow_equal(1, F_GETFD);
  f.refuse_up_to(0, wish.last_descriptor, EPERM);
  f.allow_equal(1, F_SETFL);
  f.allow_equal(1, F_SETFD);
  f.otherwise_refuse(EPERM);
#if defined(__x86_64__)
  f.allow({SYS_accept, SYS_epoll_wait});
#endif
}

/// The filter that is there before the module is loaded.
inline bool install_filter(const filter_wish& wish) noexcept {
  filter_program f;
  f.begin();
  allow_computing(f, wish);
  allow_files(f, wish);
  if (wish.network) {
    allow_network(f, wish);
  } else {
    for (const long number : {SYS_write, SYS_writev}) {
      f.of_call(number);
      f.allow_up_to(0, wish.last_descriptor);
      f.otherwise_refuse(EBADF);
    }
  }
  f.of_call(SYS_seccomp);  // the second filter
  f.allow_equal(0, SECCOMP_SET_MODE_FILTER);
  f.otherwise_end();
  f.of_call(SYS_clone);  // a thread is refused, a process is the end
  f.refuse_with(0, CLONE_THREAD, EAGAIN);
  f.otherwise_end();
  // Its flags cannot be seen; the C library asks again by `clone`.
  f.refuse(ENOSYS, {SYS_clone3});
  f.refuse(EPERM, {SYS_ioctl, SYS_fcntl, SYS_dup, SYS_prctl, SYS_mlock, SYS_pipe2, SYS_eventfd2,
                   SYS_memfd_create, SYS_sysinfo, SYS_membarrier});
#if defined(SYS_arch_prctl)
  f.refuse(EPERM, {SYS_arch_prctl});
#endif
  f.end(true);
  return f.install();
}

/// True if no file can be mapped as code any more: a static constructor may have seen to it that
/// the filter below is taken, and is not there.
inline bool refuses_code(int file) noexcept {
  void* const page = ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0);
  if (page == MAP_FAILED) return true;
  ::munmap(page, 4096);
  return false;
}

/// What comes on top once the module is loaded: no more code, and no files if it may read none.
inline bool install_filter_after_load(const filter_wish& wish) noexcept {
  filter_program f;
  f.begin();
  f.refuse(EPERM, {SYS_seccomp});
  if (!wish.may_read) f.refuse(EACCES, {SYS_openat, SYS_newfstatat});
  for (const long number : {SYS_mmap, SYS_mprotect}) {
    f.of_call(number);
    f.refuse_with(2, PROT_EXEC, EACCES);
    f.otherwise_allow();
  }
  f.end(false);
  return f.install();
}

}  // namespace troupe::detail::sandbox
