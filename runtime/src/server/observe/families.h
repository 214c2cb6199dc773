// Shorthand for what Prometheus reads.
#pragma once

#include <prometheus/metric_family.h>

#include <cstdint>
#include <string>
#include <vector>

namespace recblr::server {

using Families = std::vector<prometheus::MetricFamily>;
using Labels = std::vector<prometheus::ClientMetric::Label>;

// A family of one kind, at the end of `families`, for values to be appended to. Valid until the next family is.
prometheus::MetricFamily& append_family(Families* families, prometheus::MetricType type, std::string name,
                                        std::string help);
void append_value(prometheus::MetricFamily* family, double value, Labels labels = {});  // of a counter or gauge
// `counts` are those of buckets up to each of `bounds`, and of one more for what is above: [n_bounds + 1].
void append_buckets(prometheus::MetricFamily* family, const double* bounds, size_t n_bounds, const int64_t* counts,
                    double total, Labels labels = {});

// Families of one value.
void append_counter(Families* families, std::string name, std::string help, double value);
void append_gauge(Families* families, std::string name, std::string help, double value);

}  // namespace recblr::server
