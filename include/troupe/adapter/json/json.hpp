// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// `to_json` and `from_json`: what the codec knows, as JSON, for payloads that come from outside.
///
/// Layer: adapter. Needs nlohmann/json (3.11 or later): CMake target `troupe::json`.
///
/// | C++ | JSON |
/// |---|---|
/// | `bool`, text, `float` and `double` | itself; not-a-number and infinities are refused |
/// | integers, `char`, `std::byte`, enumerations, durations, time points | a number |
/// | a run of `std::byte`, `shared_bytes` | a string in base64 |
/// | sequences, sets, `std::array`, pairs, tuples, plain aggregates | an array |
/// | a class with `TROUPE_FIELDS` | an object |
/// | a map with text keys | an object; with other keys an array of `[key, value]` |
/// | `optional` | `null` or the value; `[]` or `[value]` where the value may be `null` itself |
/// | `variant` | `[index, value]` |
/// | `std::monostate` | `null` |
/// | a class with `codec<T>` | what its `wire` becomes |
///
/// Reading is strict: of another kind, out of range, fields or elements too few or too many,
/// unknown names and keys that are there twice are `errc::bad_message`, with the path to the place
/// in the text. Only a field that is an `optional` may be missing.

#include <troupe/adapter/json/from_json.hpp>
#include <troupe/adapter/json/module_json.hpp>
#include <troupe/adapter/json/to_json.hpp>
