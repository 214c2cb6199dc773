#include "server/observe/families.h"

#include <limits>
#include <utility>

namespace recblr::server {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

namespace {

ClientMetric& append_metric(MetricFamily* family, Labels labels) {
  ClientMetric& metric = family->metric.emplace_back();
  metric.label = std::move(labels);
  return metric;
}

}  // namespace

MetricFamily& append_family(Families* families, MetricType type, std::string name, std::string help) {
  families->push_back({std::move(name), std::move(help), type, {}});
  return families->back();
}

void append_value(MetricFamily* family, double value, Labels labels) {
  ClientMetric& metric = append_metric(family, std::move(labels));
  (family->type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
}

void append_buckets(MetricFamily* family, const double* bounds, size_t n_bounds, const int64_t* counts, double total,
                    Labels labels) {
  ClientMetric::Histogram& histogram = append_metric(family, std::move(labels)).histogram;
  uint64_t so_far = 0;
  for (size_t j = 0; j <= n_bounds; ++j) {
    so_far += static_cast<uint64_t>(counts[j]);
    histogram.bucket.push_back({so_far, j < n_bounds ? bounds[j] : std::numeric_limits<double>::infinity()});
  }
  histogram.sample_count = so_far;
  histogram.sample_sum = total;
}

void append_counter(Families* families, std::string name, std::string help, double value) {
  append_value(&append_family(families, MetricType::Counter, std::move(name), std::move(help)), value);
}

void append_gauge(Families* families, std::string name, std::string help, double value) {
  append_value(&append_family(families, MetricType::Gauge, std::move(name), std::move(help)), value);
}

}  // namespace recblr::server
