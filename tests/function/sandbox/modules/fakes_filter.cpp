// SPDX-License-Identifier: MIT
// A module whose static constructor answers the next filter with success, so that it never is
// there.

#include <cstddef>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

struct fakes_filter {
  fakes_filter() {
    sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_seccomp, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program{4, code};
    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
  }
} constructed;

}  // namespace

#include "raw_module.hpp"

const std::vector<raw::entry> raw::functions{};
void raw::on_stop(std::uint64_t) {}
void raw::on_wake() {}
void raw::on_create() {}
void raw::on_close(void (*ended)(void*), void* context) { ended(context); }

TROUPE_RAW_MODULE("fakes_filter")
