/* The C ABI of librecblr_plugins.so. Plain C: callable from C, C++, Python's ctypes and any other FFI. */
#ifndef RECBLR_PLUGINS_H_
#define RECBLR_PLUGINS_H_

#if defined(__GNUC__)
#define RECBLR_API __attribute__((visibility("default")))
#else
#define RECBLR_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Number of this ABI. A caller built for another number must not call anything else. */
#define RECBLR_ABI_VERSION 1

/* Returns RECBLR_ABI_VERSION of the library that is loaded. */
RECBLR_API int recblr_abi_version(void);

/* Returns the version of the project the library was built from, as a static NUL-terminated string. */
RECBLR_API const char* recblr_version(void);

#ifdef __cplusplus
}
#endif

#endif /* RECBLR_PLUGINS_H_ */
