// In place of the header that prometheus-cpp's own build writes: here it is a static library.
#pragma once

#define PROMETHEUS_CPP_CORE_EXPORT
