// SPDX-License-Identifier: MIT
// Choices as text: numbers separated by points, and `3x2` for three twos in a row.

#include <model/checker/choices.hpp>

#include <charconv>

namespace troupe::model {

void choices::draw(std::uint64_t seed) noexcept {
  begin(source::random);
  state_ = seed * 0x9e3779b97f4a7c15u + 1;
}

/// xorshift64* (S. Vigna, ACM TOMS 2016).
std::uint64_t choices::random() noexcept {
  state_ ^= state_ >> 12;
  state_ ^= state_ << 25;
  state_ ^= state_ >> 27;
  return state_ * 0x2545f4914f6cdd1du;
}

void choices::follow(std::string_view script) {
  begin(source::script);
  const char* at = script.data();
  const char* const end = at + script.size();
  while (at != end) {
    unsigned times = 1;
    unsigned value = 0;
    at = std::from_chars(at, end, value).ptr;
    if (at != end && *at == 'x') {
      times = value;
      at = std::from_chars(at + 1, end, value).ptr;
    }
    points_.insert(points_.end(), times, point{static_cast<std::uint8_t>(value), 0});
    if (at == end || *at != '.') break;
    ++at;
  }
}

unsigned choices::choose(unsigned count, unsigned allowed) {
  if (count <= 1) return 0;
  if (source_ == source::script) {
    const unsigned chosen = at_ < points_.size() ? points_[at_].chosen : 0;
    ++at_;
    return chosen < count ? chosen : 0;
  }
  if (source_ == source::random) {
    const auto chosen = static_cast<unsigned>((random() >> 33) % count);
    note(chosen);
    return chosen;
  }
  if (at_ == points_.size()) points_.push_back({0, static_cast<std::uint8_t>(allowed)});
  return points_[at_++].chosen;
}

void choices::note(unsigned chosen) {
  points_.push_back({static_cast<std::uint8_t>(chosen), 0});
  ++at_;
}

bool choices::advance() noexcept {
  points_.resize(at_);
  while (!points_.empty()) {
    point& last = points_.back();
    if (++last.chosen < last.allowed) return true;
    points_.pop_back();
  }
  return false;
}

std::string choices::text() const {
  std::size_t end = at_ < points_.size() ? at_ : points_.size();
  while (end > 0 && points_[end - 1].chosen == 0) --end;
  std::string text;
  for (std::size_t i = 0; i != end;) {
    std::size_t same = i;
    while (same != end && points_[same].chosen == points_[i].chosen) ++same;
    if (!text.empty()) text += '.';
    if (same - i > 1) text += std::to_string(same - i) + 'x';
    text += std::to_string(points_[i].chosen);
    i = same;
  }
  return text.empty() ? "0" : text;
}

}  // namespace troupe::model
