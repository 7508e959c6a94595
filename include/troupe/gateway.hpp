// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// Gateways, which spread connections over shards. Needs nothing but the standard library; what
/// brings requests and carries WebSockets is an adapter.

#include <troupe/gateway/delivery.hpp>
#include <troupe/gateway/error_status.hpp>
#include <troupe/gateway/gateway.hpp>
#include <troupe/gateway/gateway_options.hpp>
#include <troupe/gateway/headers.hpp>
#include <troupe/gateway/memory_socket.hpp>
#include <troupe/gateway/request.hpp>
#include <troupe/gateway/response.hpp>
#include <troupe/gateway/response_to.hpp>
#include <troupe/gateway/socket.hpp>
#include <troupe/gateway/socket_message.hpp>
#include <troupe/gateway/socket_session.hpp>
#include <troupe/gateway/socket_transport.hpp>
#include <troupe/gateway/url.hpp>
#include <troupe/gateway/utf8.hpp>
