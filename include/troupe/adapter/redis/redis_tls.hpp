// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// TLS over a socket, by OpenSSL.
///
/// Layer: adapter. TLS 1.2 and later. The link's thread alone touches a session; signals for broken
/// connections are blocked there, as OpenSSL writes in a way that raises them.

#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <troupe/adapter/redis/redis_options.hpp>
#include <troupe/adapter/redis/redis_socket.hpp>

namespace troupe::detail {

/// What OpenSSL has complained of last on this thread.
inline std::string redis_tls_complaint() {
  const unsigned long code = ::ERR_get_error();
  ::ERR_clear_error();
  const char* const reason = ::ERR_reason_error_string(code);
  return reason != nullptr ? reason : "TLS failed";
}

/// What all connections of a link have in common.
class redis_tls {
public:
  /// Reads the files. Throws `std::runtime_error`, which says what is wrong with which of them.
  explicit redis_tls(const redis_options& options)
      : context_(::SSL_CTX_new(::TLS_client_method())),
        password_(options.tls.key_password),
        name_(options.tls.server_name.empty() ? options.host : options.tls.server_name),
        verifies_(options.tls.verify) {
    ::ERR_clear_error();
    if (!context_) throw std::runtime_error("TLS: " + redis_tls_complaint());
    if (SSL_CTX_set_min_proto_version(context(), TLS1_2_VERSION) != 1) {
      throw std::runtime_error("TLS: " + redis_tls_complaint());
    }
    SSL_CTX_set_mode(context(),
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    // Without it OpenSSL would ask at the terminal.
    ::SSL_CTX_set_default_passwd_cb(context(), &redis_tls::give_password);
    ::SSL_CTX_set_default_passwd_cb_userdata(context(), &password_);
    ::SSL_CTX_set_verify(context(), verifies_ ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
    trust(options.tls.authorities_file);
    show(options.tls);
  }
  redis_tls(const redis_tls&) = delete;
  redis_tls& operator=(const redis_tls&) = delete;

  struct free_session {
    void operator()(SSL* s) const noexcept { ::SSL_free(s); }
  };
  using session = std::unique_ptr<SSL, free_session>;

  /// One that begins over this descriptor, which stays somebody else's. Throws
  /// `std::runtime_error`.
  session begin(int descriptor) const {
    session made(::SSL_new(context()));
    if (!made) throw std::runtime_error("TLS: " + redis_tls_complaint());
    ::SSL_set_fd(made.get(), descriptor);
    const bool is_address =
        ::X509_VERIFY_PARAM_set1_ip_asc(::SSL_get0_param(made.get()), name_.c_str()) == 1;
    if (!is_address) {
      SSL_set_tlsext_host_name(made.get(), name_.c_str());
      if (::SSL_set1_host(made.get(), name_.c_str()) != 1) {
        throw std::runtime_error("TLS: " + redis_tls_complaint());
      }
    }
    ::ERR_clear_error();
    return made;
  }

private:
  struct free_context {
    void operator()(SSL_CTX* c) const noexcept { ::SSL_CTX_free(c); }
  };

  SSL_CTX* context() const noexcept { return context_.get(); }

  void trust(const std::string& file) {
    if (!verifies_) return;
    const int is_good = file.empty()
                            ? ::SSL_CTX_set_default_verify_paths(context())
                            : ::SSL_CTX_load_verify_locations(context(), file.c_str(), nullptr);
    if (is_good != 1) complain("authorities_file", file);
  }
  void show(const redis_tls_options& o) {
    if (o.certificate_file.empty() != o.key_file.empty()) {
      throw std::runtime_error(
          "redis_tls_options: a certificate_file needs a key_file, and the other way round");
    }
    if (o.certificate_file.empty()) return;
    if (::SSL_CTX_use_certificate_chain_file(context(), o.certificate_file.c_str()) != 1) {
      complain("certificate_file", o.certificate_file);
    }
    if (::SSL_CTX_use_PrivateKey_file(context(), o.key_file.c_str(), SSL_FILETYPE_PEM) != 1) {
      complain("key_file", o.key_file);
    }
  }
  [[noreturn]] static void complain(const char* what, const std::string& file) {
    throw std::runtime_error(std::string("redis_tls_options::") + what + ' ' + file + ": " +
                             redis_tls_complaint());
  }
  static int give_password(char* into, int most, int, void* kept) noexcept {
    const auto& password = *static_cast<const std::string*>(kept);
    if (password.size() > static_cast<std::size_t>(most)) return 0;
    password.copy(into, password.size());
    return static_cast<int>(password.size());
  }

  std::unique_ptr<SSL_CTX, free_context> context_;
  std::string password_;
  const std::string name_;
  const bool verifies_;
};

/// A connection, encrypted or not.
///
/// Thread safety: none; it is the link's thread's own.
class redis_stream {
public:
  redis_stream() noexcept = default;
  explicit redis_stream(redis_socket s) noexcept : socket_(std::move(s)) {}

  explicit operator bool() const noexcept { return static_cast<bool>(socket_); }
  const redis_socket& socket() const noexcept { return socket_; }

  void begin_tls(const redis_tls& tls) { session_ = tls.begin(socket_.get()); }
  /// Goes on with the handshake; `moved`: it is done.
  redis_io shake() { return outcome(::SSL_connect(session_.get())); }

  redis_io read(char* into, std::size_t most) {
    if (!session_) return socket_.read(into, most);
    std::size_t n = 0;
    const int is_good = ::SSL_read_ex(session_.get(), into, most, &n);
    return is_good == 1 ? redis_io{redis_io::moved, n} : outcome(is_good);
  }
  redis_io write(const std::string_view* parts, std::size_t count) {
    if (!session_) return socket_.write(parts, count);
    std::size_t n = 0;
    const int is_good = ::SSL_write_ex(session_.get(), parts[0].data(), parts[0].size(), &n);
    return is_good == 1 ? redis_io{redis_io::moved, n} : outcome(is_good);
  }

  /// Tells the other side that this is the end, if that takes no time.
  void say_goodbye() noexcept {
    if (session_ && ::SSL_is_init_finished(session_.get()) == 1) ::SSL_shutdown(session_.get());
    ::ERR_clear_error();
  }

private:
  redis_io outcome(int returned) {
    if (returned == 1) return {redis_io::moved};
    const int number = errno;
    switch (::SSL_get_error(session_.get(), returned)) {
      case SSL_ERROR_WANT_READ:
        return {redis_io::wants_read};
      case SSL_ERROR_WANT_WRITE:
        return {redis_io::wants_write};
      case SSL_ERROR_ZERO_RETURN:
        return {redis_io::ended};
      case SSL_ERROR_SYSCALL:
        ::ERR_clear_error();
        if (number == 0) return {redis_io::ended};
        return {redis_io::failed, 0, redis_system_text(number)};
      default:
        return {redis_io::failed, 0, complaint()};
    }
  }
  std::string complaint() {
    const long verdict = ::SSL_get_verify_result(session_.get());
    const std::string said = redis_tls_complaint();
    if (verdict == X509_V_OK) return "TLS: " + said;
    return std::string("TLS: the server's certificate: ") +
           ::X509_verify_cert_error_string(verdict);
  }

  redis_socket socket_;
  redis_tls::session session_;  // none: not encrypted; it goes before its socket
};

}  // namespace troupe::detail
