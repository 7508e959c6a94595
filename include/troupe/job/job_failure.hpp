// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `job_failed`, and exceptions as what of them goes to another process.
///
/// Layer: job.

#include <cstdint>
#include <cstdlib>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <typeinfo>
#include <utility>

#if __has_include(<cxxabi.h>)
#  include <cxxabi.h>
#endif

#include <troupe/base/error.hpp>
#include <troupe/net/job_store.hpp>

namespace troupe {

/// A job has failed for good. `what()` is what its last exception said.
class job_failed : public std::runtime_error {
public:
  explicit job_failed(std::shared_ptr<const job_error> why)
      : std::runtime_error(why->text), why_(std::move(why)) {}

  /// The class of the exception that its script threw; empty: there was none.
  [[nodiscard]] const std::string& type() const noexcept { return why_->type; }
  /// Why it was not tried again.
  [[nodiscard]] const std::string& reason() const noexcept { return why_->reason; }
  /// If it was an `error` of the library: its code; else no error.
  [[nodiscard]] std::error_code code() const noexcept {
    return why_->code == 0 ? std::error_code() : make_error_code(static_cast<errc>(why_->code));
  }

private:
  std::shared_ptr<const job_error> why_;
};

namespace detail {

/// The params of a job cannot be read: no attempt will succeed.
class unreadable_params : public error {
public:
  explicit unreadable_params(const std::string& why) : error(errc::bad_message, {}, why) {}
};

/// What was thrown elsewhere, by a class that is not known here.
class foreign_failure : public std::runtime_error {
public:
  foreign_failure(std::string type, const std::string& what)
      : std::runtime_error(what), type_(std::make_shared<const std::string>(std::move(type))) {}

  const std::string& type() const noexcept { return *type_; }

private:
  std::shared_ptr<const std::string> type_;  // copied without memory
};

inline std::string readable_name(const std::type_info& type) {
#if __has_include(<cxxabi.h>)
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name(
      abi::__cxa_demangle(type.name(), nullptr, nullptr, &status), &std::free);
  if (status == 0) return name.get();
#endif
  return type.name();
}

inline job_error describe_job_failure(const std::exception_ptr& failure) {
  job_error why;
  try {
    std::rethrow_exception(failure);
  } catch (const error& e) {
    why.type = readable_name(typeid(e));
    why.text = e.what();
    why.code = e.code().value();
  } catch (const foreign_failure& e) {
    why.type = e.type();
    why.text = e.what();
  } catch (const std::exception& e) {
    why.type = readable_name(typeid(e));
    why.text = e.what();
  } catch (...) {
    why.text = "an exception of no known class";
  }
  return why;
}

}  // namespace detail
}  // namespace troupe
