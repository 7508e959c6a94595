// SPDX-License-Identifier: MIT
// Modules written against the C interface, each with one fault; which one, a macro says.

#include <time.h>

#include <troupe/function/module_abi.hpp>

#define FAULT_NO_ENTRY 1
#define FAULT_NO_TABLE 2
#define FAULT_NOT_A_TABLE 3
#define FAULT_ABI 4
#define FAULT_SHORT 5
#define FAULT_CREATE 6
#define FAULT_SLOW 7
#define FAULT_NO_FUNCTION_POINTER 8

#if FAULT != FAULT_NO_ENTRY

namespace {

int instance = 0;

void* create(const troupe_module_host*, void (*fail)(void*, const char*), void* context) {
#  if FAULT == FAULT_CREATE
  fail(context, "it does not want to");
  return nullptr;
#  else
  static_cast<void>(fail), static_cast<void>(context);
#  endif
#  if FAULT == FAULT_SLOW
  const timespec pause{3, 0};
  nanosleep(&pause, nullptr);
#  endif
  return &instance;
}
void call(void*, troupe_module_call* c) { c->settle(c, troupe_outcome_value, 0, {nullptr, 0}); }
void stop(void*, unsigned long) {}
void wake(void*) {}
void close(void*, void (*ended)(void*), void* context) { ended(context); }
void destroy(void*) {}

const troupe_module_function functions[] = {{"nothing", "void nothing()", 0, 0}};

troupe_module_table make_table() {
  troupe_module_table t{};
  t.magic = troupe_module_magic + (FAULT == FAULT_NOT_A_TABLE ? 1 : 0);
  t.abi = troupe_module_abi + (FAULT == FAULT_ABI ? 1 : 0);
  t.size = FAULT == FAULT_SHORT ? 16 : sizeof t;
  t.function_count = 1;
  t.formats = 1;
  t.name = "raw";
  t.version = "v1.0.0";
  t.build = "by hand";
  t.functions = functions;
  t.create = &create;
  t.call = FAULT == FAULT_NO_FUNCTION_POINTER ? nullptr : &call;
  t.stop = &stop;
  t.wake = &wake;
  t.close = &close;
  t.destroy = &destroy;
  return t;
}
const troupe_module_table table = make_table();

}  // namespace

extern "C" __attribute__((visibility("default"))) const troupe_module_table* troupe_module_entry() {
  return FAULT == FAULT_NO_TABLE ? nullptr : &table;
}

#else

extern "C" __attribute__((visibility("default"))) int something_else() { return 1; }

#endif
