// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Whether bytes are a whole ELF shared object for this kind of machine, and how much of them is
/// ever mapped.
///
/// Layer: function. Linux. Reads what may be anybody's work: each offset is checked against the
/// size before it is used.

#include <elf.h>
#include <link.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace troupe::detail {

/// What was found: `fault` is empty, or says what is wrong.
struct elf_findings {
  std::string_view fault;
  std::size_t mapped = 0;  // bytes from the beginning, up to the end of the last segment
};

constexpr unsigned this_machine() noexcept {
#if defined(__x86_64__)
  return EM_X86_64;
#elif defined(__i386__)
  return EM_386;
#elif defined(__aarch64__)
  return EM_AARCH64;
#elif defined(__arm__)
  return EM_ARM;
#elif defined(__riscv)
  return EM_RISCV;
#elif defined(__powerpc64__)
  return EM_PPC64;
#elif defined(__s390x__)
  return EM_S390;
#else
  return EM_NONE;  // not known: the dynamic linker looks
#endif
}

inline std::string_view fault_of_head(const ElfW(Ehdr) & head) noexcept {
  constexpr unsigned char of_this_size = sizeof(void*) == 8 ? ELFCLASS64 : ELFCLASS32;
  constexpr std::uint16_t one = 1;
  unsigned char first_byte = 0;
  std::memcpy(&first_byte, &one, 1);
  const unsigned char of_this_order = first_byte == 1 ? ELFDATA2LSB : ELFDATA2MSB;
  if (std::memcmp(head.e_ident, ELFMAG, SELFMAG) != 0) return "it is not a library (no ELF file)";
  if (head.e_ident[EI_CLASS] != of_this_size || head.e_ident[EI_DATA] != of_this_order ||
      (this_machine() != EM_NONE && head.e_machine != this_machine())) {
    return "it is for another kind of machine";
  }
  if (head.e_type != ET_DYN) return "it is an ELF file, but no shared library";
  if (head.e_phentsize != sizeof(ElfW(Phdr)) || head.e_phnum == 0) {
    return "its program headers are damaged";
  }
  return {};
}

/// `bytes` may be the beginning of the file alone, as long as that reaches behind the program
/// headers; `size` is that of the file.
inline elf_findings look_at_elf(std::span<const std::byte> bytes, std::uint64_t size) {
  ElfW(Ehdr) head;
  if (bytes.size() < sizeof head) return {"it is not a library (too short)", 0};
  std::memcpy(&head, bytes.data(), sizeof head);
  const std::string_view fault = fault_of_head(head);
  if (!fault.empty()) return {fault, 0};
  const std::uint64_t table_size = std::uint64_t{head.e_phnum} * sizeof(ElfW(Phdr));
  if (head.e_phoff > size || table_size > size - head.e_phoff) return {"it is cut short", 0};
  if (head.e_phoff + table_size > bytes.size()) return {"its program headers are damaged", 0};
  std::uint64_t end = head.e_phoff + table_size;
  bool has_code = false;
  bool is_dynamic = false;
  for (std::size_t i = 0; i != head.e_phnum; ++i) {
    ElfW(Phdr) segment;
    std::memcpy(&segment, bytes.data() + head.e_phoff + i * sizeof segment, sizeof segment);
    if (segment.p_type == PT_NULL) continue;
    if (segment.p_offset > size || segment.p_filesz > size - segment.p_offset) {
      return {"it is cut short", 0};
    }
    if (segment.p_type == PT_INTERP) return {"it is a program, not a shared library", 0};
    if (segment.p_type == PT_LOAD && segment.p_filesz > segment.p_memsz) {
      return {"its program headers are damaged", 0};
    }
    has_code = has_code || segment.p_type == PT_LOAD;
    is_dynamic = is_dynamic || segment.p_type == PT_DYNAMIC;
    end = (std::max)(end, std::uint64_t{segment.p_offset} + segment.p_filesz);
  }
  if (!has_code || !is_dynamic) return {"it is an ELF file, but no shared library", 0};
  return {{}, static_cast<std::size_t>(end)};
}

}  // namespace troupe::detail
