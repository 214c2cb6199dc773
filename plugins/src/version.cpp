#include "recblr/plugins.h"

extern "C" int recblr_abi_version(void) { return RECBLR_ABI_VERSION; }

extern "C" const char* recblr_version(void) { return RECBLR_VERSION; }
