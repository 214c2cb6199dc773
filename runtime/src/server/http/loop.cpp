#include "server/http/loop.h"

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <exception>
#include <string>
#include <vector>

#include "server/http/connection.h"

namespace recblr::server {
namespace {

constexpr double kShortestTick = 0.005, kLongestTick = 0.2;  // seconds
constexpr size_t kClosedAtOnce = 8;

double shortest(const HttpLimits& limits) {
  return std::min({limits.header_timeout, limits.body_timeout, limits.write_timeout, limits.keep_alive});
}

}  // namespace

Loop::Loop(std::shared_ptr<ServerState> state) : state_(std::move(state)) {
  const double seconds = std::clamp(shortest(state_->options.limits) / 8, kShortestTick, kLongestTick);
  tick_every_ = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

Loop::~Loop() = default;

void Loop::start() {
  thread_ = std::thread([this] {
    id_ = std::this_thread::get_id();
    const auto work = boost::asio::make_work_guard(io_);
    for (;;) {
      try {
        io_.run();
        return;
      } catch (const std::exception& error) {
        if (state_->options.warn) state_->options.warn(std::string("a connection's thread failed: ") + error.what());
      }
    }
  });
}

void Loop::end() {
  post([this] {
    drop_all();
    timer_.cancel();
    io_.stop();
  });
  if (thread_.joinable()) thread_.join();
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  drop_all();
  io_.restart();
  io_.poll();  // lets go of what waited for the connections
}

void Loop::each(const std::function<void(Connection&)>& use) {
  std::vector<std::shared_ptr<Connection>> connections;  // as they leave meanwhile
  connections.reserve(connections_.size());
  for (const auto& [key, connection] : connections_) connections.push_back(connection);
  for (const auto& connection : connections) use(*connection);
}

void Loop::add(const std::shared_ptr<Connection>& connection) {
  ++n_connections_;
  if (is_this_thread()) return begin(connection);
  try {
    post([this, connection] { begin(connection); });
  } catch (const std::exception& error) {
    not_begun(error);
  }
}

void Loop::begin(const std::shared_ptr<Connection>& connection) {
  try {
    connections_.emplace(connection.get(), connection);
  } catch (const std::exception& error) {
    return not_begun(error);
  }
  connection->start();
  if (!ticking_) tick();
}

void Loop::not_begun(const std::exception& error) {
  --n_connections_;
  state_->connection_closed();
  if (state_->options.warn) state_->options.warn(std::string("a connection cannot be served: ") + error.what());
}

void Loop::remove(Connection* connection) {
  const auto found = connections_.find(connection);
  if (found == connections_.end()) return;
  const auto kept = std::move(found->second);  // until it is out of the map
  connections_.erase(found);
  --n_connections_;
  state_->connection_closed();
}

void Loop::tick() {
  ticking_ = !connections_.empty();
  if (!ticking_) return;
  // First, so that the next tick comes whatever fails in this one.
  timer_.expires_after(tick_every_);
  timer_.async_wait([this](const boost::system::error_code& ec) {
    if (!ec) tick();
  });
  const Clock::time_point now = Clock::now();
  std::vector<std::shared_ptr<Connection>> expired;
  for (const auto& [key, connection] : connections_) {
    if (connection->deadline() <= now) expired.push_back(connection);
  }
  for (const auto& connection : expired) connection->expire();
}

void Loop::drain() {
  each([](Connection& connection) { connection.drain(); });
}

void Loop::drop_all() {
  each([](Connection& connection) { connection.drop(); });
}

void Loop::close_idle() {
  std::vector<std::shared_ptr<Connection>> idle;
  for (const auto& [key, connection] : connections_) {
    if (connection->is_idle()) idle.push_back(connection);
  }
  const size_t n = std::min(kClosedAtOnce, idle.size());
  std::partial_sort(idle.begin(), idle.begin() + static_cast<std::ptrdiff_t>(n), idle.end(),
                    [](const auto& left, const auto& right) { return left->deadline() < right->deadline(); });
  for (size_t j = 0; j < n; ++j) idle[j]->close();
}

}  // namespace recblr::server
