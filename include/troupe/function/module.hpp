// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `TROUPE_MODULE`: the line that turns a class into a module, a shared library that a
/// `function_host` runs.
///
/// Layer: function. For the module's library; its host includes <troupe/function.hpp>.

#include <cstdint>
#include <deque>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include <troupe/actor/methods.hpp>
#include <troupe/actor/proxy.hpp>
#include <troupe/function/guest.hpp>
#include <troupe/function/guest_method.hpp>
#include <troupe/function/module_abi.hpp>
#include <troupe/function/module_format.hpp>
#include <troupe/function/signature_text.hpp>
#include <troupe/version.hpp>

namespace troupe::detail {

/// The instance of a module whose class is `A`.
template <class A>
class guest_of final : public guest {
public:
  explicit guest_of(const troupe_module_host& host)
      : guest(host), shared_(workers().template worker<A>()) {}

  using start_function = void (*)(guest&, const proxy<A>&, troupe_module_call&) noexcept;

  void call(start_function start, troupe_module_call& c) noexcept {
    try {
      if (c.key.size == 0) return start(*this, shared_, c);
      const proxy<A> worker = workers().template worker<A>(as_text(c.key));
      start(*this, worker, c);
    } catch (...) {
      const crossing_failure f = describe_failure_or_code(std::current_exception());
      c.settle(&c, f.outcome, f.code, as_bytes(f.text));
    }
  }

private:
  const proxy<A> shared_;  // the worker with the empty key
};

/// What the module with class `A` says of itself. One per library.
template <class A>
class module_definition {
public:
  module_definition(std::string_view name, const char* version, std::string build)
      : name_(base_name(name)), build_(std::move(build)) {
    methods<A>::visit_all(*this);
    table_.magic = troupe_module_magic;
    table_.abi = troupe_module_abi;
    table_.size = sizeof(troupe_module_table);
    table_.function_count = static_cast<std::uint32_t>(functions_.size());
    table_.formats = 1u << troupe_format_binary;
    if constexpr (understands_json<A>) table_.formats |= 1u << troupe_format_json;
    table_.name = name_.c_str();
    table_.version = version;
    table_.build = build_.c_str();
    table_.functions = functions_.data();
    table_.create = &module_definition::create;
    table_.call = &module_definition::call;
    table_.stop = &module_definition::stop;
    table_.wake = &module_definition::wake;
    table_.close = &module_definition::close;
    table_.destroy = &module_definition::destroy;
    only_ = this;
  }
  module_definition(const module_definition&) = delete;
  module_definition& operator=(const module_definition&) = delete;

  const troupe_module_table* table() const noexcept { return &table_; }

  /// For `methods<A>::visit_all`.
  template <auto M>
  void visit(const char* name) {
    using signature = signature_of<M>;
    starts_.push_back(&guest_method<M, A>::start);
    signatures_.push_back(signature_text<signature>(name));
    functions_.push_back({name, signatures_.back().c_str(), shape_of<packed_t<signature>>,
                          result_shape<typename signature::result>()});
  }

private:
  using instance_type = guest_of<A>;

  static std::string base_name(std::string_view qualified) {
    const std::size_t colon = qualified.rfind(':');
    return std::string(colon == std::string_view::npos ? qualified : qualified.substr(colon + 1));
  }

  static guest_of<A>& instance_at(void* instance) noexcept {
    return *static_cast<guest_of<A>*>(instance);
  }

  // --- the table --------------------------------------------------------------------------------
  static void* create(const troupe_module_host* host, void (*fail)(void*, const char*),
                      void* context) {
    guest_executor::borrow_thread();
    if (host->abi != troupe_module_abi) {
      fail(context, "the host speaks another version of the interface");
      return nullptr;
    }
    try {
      return new guest_of<A>(*host);
    } catch (const std::exception& e) {
      fail(context, e.what());
    } catch (...) {
      fail(context, "unknown exception");
    }
    return nullptr;
  }
  static void call(void* instance, troupe_module_call* c) {
    guest_executor::borrow_thread();
    guest_of<A>& g = instance_at(instance);
    const module_definition& self = *only_;
    if (c->function >= self.starts_.size()) {
      constexpr std::string_view text = "the module has no function of that number";
      return c->settle(c, troupe_outcome_error, static_cast<std::uint32_t>(errc::no_such_method),
                       as_bytes(text));
    }
    g.where().begin_use();
    g.call(self.starts_[c->function], *c);
    g.where().end_use();
  }
  static void stop(void* instance, std::uint64_t id) {
    guest_of<A>& g = instance_at(instance);
    guest_executor::borrow_thread();
    if (!g.where().try_use()) return;
    g.stop(id);
    g.where().end_use();
  }
  static void wake(void* instance) {
    guest_of<A>& g = instance_at(instance);
    guest_executor::borrow_thread();
    if (!g.where().try_use()) return;
    g.where().fire();
    g.where().end_use();
  }
  static void close(void* instance, void (*ended)(void*), void* context) {
    guest_of<A>& g = instance_at(instance);
    guest_executor::borrow_thread();
    g.where().begin_use();
    g.close(ended, context);
    g.where().end_use();
  }
  static void destroy(void* instance) {
    guest_executor::borrow_thread();
    delete &instance_at(instance);
    frame_depot::instance().clear();
  }

  inline static const module_definition* only_ = nullptr;

  const std::string name_;
  const std::string build_;
  std::vector<typename instance_type::start_function> starts_;
  std::deque<std::string> signatures_;
  std::vector<troupe_module_function> functions_;
  troupe_module_table table_{};
};

/// `troupe_add_module` says which name and version it was told, to be compared with the macro's.
#if defined(TROUPE_MODULE_VERSION)
inline constexpr std::string_view built_module_version = TROUPE_MODULE_VERSION;
#else
inline constexpr std::string_view built_module_version;
#endif

constexpr bool is_built_version(std::string_view version) noexcept {
  return built_module_version.empty() || built_module_version == version;
}

inline std::string build_text(std::string_view compiler, std::string_view when) {
  return std::string(compiler) + ", troupe " + std::to_string(TROUPE_VERSION_MAJOR) + "." +
         std::to_string(TROUPE_VERSION_MINOR) + "." + std::to_string(TROUPE_VERSION_PATCH) + ", " +
         std::string(when);
}

}  // namespace troupe::detail

#if defined(__clang__)
#  define TROUPE_DETAIL_COMPILER "Clang " __clang_version__
#else
#  define TROUPE_DETAIL_COMPILER "GCC " __VERSION__
#endif

/// `TROUPE_MODULE(calculator, "v1.0.0")`: at global scope, after `TROUPE_METHODS`, in one
/// translation unit of the library. The methods listed there are the module's functions; its name
/// is that of the class, without its namespace. Each call is a call of the class's worker with the
/// key that is asked for, by a broker of the module's own: all that holds for actors holds for it.
///
/// For payloads in JSON, <troupe/adapter/json/json.hpp> is included before.
#define TROUPE_MODULE(A, version)                                                                  \
  static_assert(::troupe::detail::is_built_version(version),                                       \
                "troupe: the version in TROUPE_MODULE is not the one that the build was told "     \
                "(troupe_add_module(... VERSION ...))");                                           \
  extern "C" __attribute__((visibility("default"))) const troupe_module_table*                     \
  troupe_module_entry() {                                                                          \
    static const ::troupe::detail::module_definition<A> troupe_definition(                         \
        #A, version, ::troupe::detail::build_text(TROUPE_DETAIL_COMPILER, __DATE__ " " __TIME__)); \
    return troupe_definition.table();                                                              \
  }                                                                                                \
  static_assert(true, "takes the semicolon")
