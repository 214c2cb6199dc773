#include "server/model/models.h"

#include <atomic>
#include <chrono>
#include <filesystem>
#include <mutex>
#include <system_error>
#include <utility>

#include "server/model/disposal.h"
#include "server/model/warm_up.h"
#include "server/work/guarded.h"

namespace recblr::server {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point then) { return std::chrono::duration<double>(Clock::now() - then).count(); }

// Where links lead now; the path itself where that cannot be told, for the error that opening it gives.
std::string resolved(const std::string& path) {
  std::error_code failed;
  const std::filesystem::path target = std::filesystem::canonical(path, failed);
  return failed ? path : target.string();
}

}  // namespace

class Models::Impl {
 public:
  explicit Impl(ModelOptions options) : options_(std::move(options)) {}

  void load() {
    const std::lock_guard<std::mutex> one_at_a_time(changing_);
    const Clock::time_point began = Clock::now();
    ServedModelPtr model = made(open(options_.path));
    std::shared_ptr<const Recommender> users;
    if (options_.store) {
      const Store store(*options_.store, options_.store_options);
      users = std::make_shared<const Recommender>(model->engine, store, options_.recommender);
    }
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (is_closed_) throw Error(closed());
      std::atomic_store(&users_, std::move(users));
      std::atomic_store(&current_, model);
      first_path_ = model->resolved_path;
    }
    tell({ModelEvent::Kind::kLoaded, std::move(model), seconds_since(began)});
  }

  Expected<ServedModelPtr> reload(const std::string& path) {
    return change(ModelEvent::Kind::kReloaded, ModelEvent::Kind::kReloadFailed, [&]() -> Expected<ServedModelPtr> {
      Expected<ServedModelPtr> next = open(path.empty() ? options_.path : path);
      if (!next) return next;
      return take_over(*next, current());
    });
  }

  Expected<ServedModelPtr> rollback() {
    return change(ModelEvent::Kind::kRolledBack, ModelEvent::Kind::kRollbackFailed, [&]() -> Expected<ServedModelPtr> {
      const ServedModelPtr before = previous();
      if (before == nullptr) {
        return Failure{Status::kInvalidArgument,
                       "there is no model before this one to go back to: one is kept from each reload to the next "
                       "reload or rollback"};
      }
      return take_over(before, nullptr);
    });
  }

  bool close(double timeout) {
    const Clock::time_point began = Clock::now();
    ServedModelPtr current, previous;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      is_closed_ = true;
      current = this->current();
      previous = previous_;
    }
    bool has_ended = true;
    for (const ServedModelPtr& model : {current, previous}) {
      if (model == nullptr) continue;
      if (!model->engine.try_close(true, std::max(0.0, timeout - seconds_since(began)))) has_ended = false;
    }
    if (const auto users = this->users()) static_cast<void>(users->try_close());
    return has_ended;
  }

  std::string first_path() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return first_path_;
  }
  ServedModelPtr current() const { return std::atomic_load_explicit(&current_, std::memory_order_acquire); }
  ServedModelPtr previous() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return previous_;
  }
  std::shared_ptr<const Recommender> users() const {
    return std::atomic_load_explicit(&users_, std::memory_order_acquire);
  }
  bool ready() const { return !is_draining_ && current() != nullptr; }
  void set_draining() { is_draining_ = true; }

  std::function<void(const ModelEvent&)> told;
  void on_free(std::function<void(const ServedModel&)> told) { disposal_.on_free(std::move(told)); }

 private:
  static Failure closed() { return {Status::kClosed, "the server ends: no other model is loaded"}; }

  static ServedModelPtr made(Expected<ServedModelPtr> model) {
    if (!model) throw Error(model.error());
    return *std::move(model);
  }

  void tell(const ModelEvent& event) const {
    if (!told) return;
    try {
      told(event);
    } catch (const std::exception&) {  // of memory: what has happened has happened
    }
  }

  // Opened, verified and warmed up.
  Expected<ServedModelPtr> open(const std::string& path) {
    std::string target = resolved(path);
    Expected<Bundle> bundle = Bundle::try_open(target);
    if (!bundle) return bundle.error();
    Expected<Engine> engine = Engine::try_create(*bundle, options_.engine);
    if (!engine) return engine.error();
    const WarmUp how = current() == nullptr ? WarmUp::kFirst : WarmUp::kBesideAnother;
    if (Expected<void> warm = warm_up(*bundle, *engine, how); !warm) return warm.error();
    const Expected<recblr_metrics> counted = engine->try_metrics();
    const auto now = std::chrono::system_clock::now();
    return disposal_.owned(std::unique_ptr<const ServedModel>(
        new ServedModel{options_.name, path, std::move(target), ++last_version_, now, *std::move(bundle),
                        *std::move(engine), counted ? *counted : recblr_metrics{}}));
  }

  // `next` is served from here on, and `kept` is the one to go back to.
  Expected<ServedModelPtr> take_over(const ServedModelPtr& next, ServedModelPtr kept) {
    if (const auto users = this->users()) {
      if (Expected<void> swapped = users->try_swap(next->engine, options_.rebuild); !swapped) return swapped.error();
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    if (is_closed_) return closed();
    std::atomic_store(&current_, next);
    previous_.swap(kept);
    return next;
  }

  template <typename Change>
  Expected<ServedModelPtr> change(ModelEvent::Kind done, ModelEvent::Kind failed, const Change& change) {
    const Clock::time_point began = Clock::now();
    const std::unique_lock<std::mutex> one_at_a_time(changing_, std::try_to_lock);
    if (!one_at_a_time || current() == nullptr) {
      return Failure{Status::kOverloaded, "another model is being loaded: try again once that has ended"};
    }
    Expected<ServedModelPtr> changed = ServedModelPtr();
    // What is thrown on the way is a failure, too: the model stays, and the server goes on.
    guarded([&] { changed = change(); }, [&](const Failure& thrown) { changed = thrown; });
    const double seconds = seconds_since(began);
    if (changed) {
      tell({done, *changed, seconds});
    } else {
      tell({failed, current(), seconds, changed.error()});
    }
    return changed;
  }

  const ModelOptions options_;
  Disposal disposal_;  // before the models, as it frees them
  std::mutex changing_;
  int64_t last_version_ = 0;  // by who changes
  mutable std::mutex mutex_;  // of what follows, for writers
  std::string first_path_;
  std::shared_ptr<const Recommender> users_;
  ServedModelPtr current_;  // read by atomic_load
  ServedModelPtr previous_;
  bool is_closed_ = false;
  std::atomic<bool> is_draining_{false};
};

Models::Models(ModelOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Models::~Models() = default;

void Models::load() { impl_->load(); }
std::string Models::first_path() const { return impl_->first_path(); }
ServedModelPtr Models::current() const { return impl_->current(); }
ServedModelPtr Models::previous() const { return impl_->previous(); }
std::shared_ptr<const Recommender> Models::users() const { return impl_->users(); }
bool Models::ready() const { return impl_->ready(); }
void Models::set_draining() { impl_->set_draining(); }
Expected<ServedModelPtr> Models::reload(const std::string& path) { return impl_->reload(path); }
Expected<ServedModelPtr> Models::rollback() { return impl_->rollback(); }
void Models::on_event(std::function<void(const ModelEvent&)> told) { impl_->told = std::move(told); }
void Models::on_free(std::function<void(const ServedModel&)> told) { impl_->on_free(std::move(told)); }
bool Models::close(double timeout) { return impl_->close(timeout); }

}  // namespace recblr::server
