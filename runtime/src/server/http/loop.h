// One thread and the connections that it serves.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>

#include "server/http/server_state.h"

namespace recblr::server {

class Connection;

using Clock = std::chrono::steady_clock;

inline Clock::time_point in_seconds(double seconds) {
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

// Connections keep it alive, as handlers may keep them longer than the server.
class Loop {
 public:
  explicit Loop(std::shared_ptr<ServerState> state);
  ~Loop();

  void start();
  // Drops all connections and ends the thread. Tasks posted from then on are dropped.
  void end();
  // Runs `task` in the thread.
  template <typename Task>
  void post(Task task) {
    const std::lock_guard lock(mutex_);
    if (!ended_) boost::asio::post(io_, std::move(task));
  }
  bool is_this_thread() const { return std::this_thread::get_id() == id_; }
  boost::asio::io_context& io() { return io_; }
  ServerState& state() { return *state_; }
  int64_t n_connections() const { return n_connections_; }
  // It was counted in the state's connections; from here on the loop sees to that.
  void add(const std::shared_ptr<Connection>& connection);

  // In the thread:
  void remove(Connection* connection);
  void drain();
  void drop_all();
  // Closes some connections that wait for requests, the longest first, as there are no file descriptors left.
  void close_idle();

 private:
  void begin(const std::shared_ptr<Connection>& connection);
  void not_begun(const std::exception& error);
  void tick();
  void each(const std::function<void(Connection&)>& use);

  const std::shared_ptr<ServerState> state_;
  boost::asio::io_context io_{1};
  boost::asio::steady_timer timer_{io_};  // one for the deadlines of all
  Clock::duration tick_every_;
  bool ticking_ = false;
  std::unordered_map<Connection*, std::shared_ptr<Connection>> connections_;
  std::atomic<int64_t> n_connections_{0};
  std::thread thread_;
  std::atomic<std::thread::id> id_{};  // thread_'s, which others may ask for while it ends
  std::mutex mutex_;
  bool ended_ = false;
};

}  // namespace recblr::server
