// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// An exception as what crosses to the caller of a module: an error of the library by its code and
/// text, anything else by the name of its type and what it says.
///
/// Layer: function. In the module's library.

#include <cxxabi.h>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <system_error>
#include <typeinfo>

#include <troupe/base/error.hpp>
#include <troupe/function/module_abi.hpp>

namespace troupe::detail {

/// How a call has ended that gave no value.
struct crossing_failure {
  std::uint32_t outcome = troupe_outcome_error;
  std::uint32_t code = 0;
  std::string text;
};

/// The name of the class of the exception that is being handled.
inline std::string name_of_current_exception() {
  const std::type_info* const type = abi::__cxa_current_exception_type();
  if (type == nullptr) return "unknown";
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> readable(
      abi::__cxa_demangle(type->name(), nullptr, nullptr, &status), &std::free);
  return status == 0 ? std::string(readable.get()) : std::string(type->name());
}

/// What `e` says of its cause, if it has one: a constructor that threw, for instance.
inline std::string text_of_cause(const std::exception& e) {
  const auto* const nested = dynamic_cast<const std::nested_exception*>(&e);
  if (nested == nullptr || nested->nested_ptr() == nullptr) return {};
  try {
    nested->rethrow_nested();
  } catch (const std::exception& cause) {
    return name_of_current_exception() + ": " + cause.what();
  } catch (...) {
    return name_of_current_exception();
  }
}

inline crossing_failure describe_failure(const std::exception_ptr& failure) {
  crossing_failure f;
  try {
    std::rethrow_exception(failure);
  } catch (const error& e) {
    f.code = static_cast<std::uint32_t>(e.code().value());
    f.text = e.detail();
    const std::string cause = text_of_cause(e);
    if (!cause.empty()) f.text += (f.text.empty() ? "" : ": ") + cause;
  } catch (const std::exception& e) {
    f.outcome = troupe_outcome_exception;
    f.text = name_of_current_exception();
    f.text.push_back('\0');
    f.text += e.what();
  } catch (...) {
    f.outcome = troupe_outcome_exception;
    f.text = name_of_current_exception();
    f.text.push_back('\0');
  }
  return f;
}

/// A call that is settled without memory for a text says so by its code alone.
inline crossing_failure describe_failure_or_code(const std::exception_ptr& failure) noexcept try {
  return describe_failure(failure);
} catch (...) {
  crossing_failure f;
  f.code = static_cast<std::uint32_t>(errc::interrupted);
  return f;
}

}  // namespace troupe::detail
