#include "python/errors.h"

#include <array>

namespace recblr::python {
namespace {

struct Names {
  std::array<nb::object, 14> classes;  // by status; none for RECBLR_OK
  nb::object recblr_error, shown, short_reason;
};

// Never destroyed: the interpreter may be gone when that would happen.
Names* names = nullptr;

}  // namespace

void init_errors() {
  nb::module_ errors = nb::module_::import_("recblr.errors");
  auto* found = new Names;
  auto& classes = found->classes;
  classes[RECBLR_INVALID_ARGUMENT] = errors.attr("RequestError");
  classes[RECBLR_BAD_CONFIG] = errors.attr("ConfigError");
  classes[RECBLR_BAD_BUNDLE] = errors.attr("BundleError");
  classes[RECBLR_STORE_FAILED] = errors.attr("StoreError");
  classes[RECBLR_OVERLOADED] = errors.attr("OverloadedError");
  classes[RECBLR_DEADLINE] = errors.attr("DeadlineError");
  classes[RECBLR_CLOSED] = errors.attr("ClosedError");
  classes[RECBLR_BACKEND_FAILED] = errors.attr("BackendError");
  classes[RECBLR_FORKED] = errors.attr("ForkError");
  classes[RECBLR_OUT_OF_MEMORY] = nb::borrow(PyExc_MemoryError);
  classes[RECBLR_UNSUPPORTED] = errors.attr("ConfigError");
  classes[RECBLR_CANCELLED] = nb::module_::import_("asyncio").attr("CancelledError");
  classes[RECBLR_INTERNAL] = errors.attr("RecblrError");
  found->recblr_error = errors.attr("RecblrError");
  found->shown = errors.attr("shown");
  found->short_reason = errors.attr("short_reason");
  names = found;
}

nb::object exception_of(recblr_status status, const std::string& message) {
  const bool is_known = status > RECBLR_OK && status < static_cast<int>(names->classes.size());
  const nb::object& found = names->classes[is_known ? status : RECBLR_INTERNAL];
  return found(text_of(message.data(), message.size()));
}

const char* terminated(const std::string& text, const char* name, recblr_status status) {
  if (text.find('\0') != std::string::npos) {
    raise(status, std::string(name) + " is " + shown(text_of(text.data(), text.size())) + ": it holds a NUL character");
  }
  return text.c_str();
}

recblr_status status_of(nb::handle exception) {
  for (recblr_status status = 1; status < static_cast<int>(names->classes.size()); ++status) {
    const bool is_ours = status != RECBLR_OUT_OF_MEMORY && status != RECBLR_CANCELLED && status != RECBLR_INTERNAL;
    if (is_ours && nb::isinstance(exception, names->classes[status])) return status;
  }
  return nb::isinstance(exception, names->recblr_error) ? RECBLR_INTERNAL : RECBLR_OK;
}

void raise(const nb::object& exception) {
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.ptr())), exception.ptr());
  throw nb::python_error();
}

void raise(recblr_status status, const std::string& message) { raise(exception_of(status, message)); }

std::string shown(nb::handle value) { return utf8_of(names->shown(value)); }

std::string short_reason(nb::handle exception) { return utf8_of(names->short_reason(exception)); }

std::string name_of_type(nb::handle value) { return utf8_of(value.type().attr("__name__")); }

nb::object text_of(const char* text, size_t length) {
  PyObject* decoded = PyUnicode_DecodeUTF8(text, static_cast<Py_ssize_t>(length), "surrogatepass");
  if (decoded == nullptr) {  // a message may hold a name of a file in any bytes
    PyErr_Clear();
    decoded = PyUnicode_DecodeUTF8(text, static_cast<Py_ssize_t>(length), "backslashreplace");
  }
  if (decoded == nullptr) throw nb::python_error();
  return nb::steal(decoded);
}

std::string utf8_of(nb::handle text) {
  Py_ssize_t size = 0;
  const char* utf8 = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
  if (utf8 != nullptr) return {utf8, static_cast<size_t>(size)};
  if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) throw nb::python_error();
  PyErr_Clear();
  nb::object bytes = nb::steal(PyUnicode_AsEncodedString(text.ptr(), "utf-8", "surrogatepass"));
  char* content = nullptr;
  if (!bytes.is_valid() || PyBytes_AsStringAndSize(bytes.ptr(), &content, &size) != 0) throw nb::python_error();
  return {content, static_cast<size_t>(size)};
}

}  // namespace recblr::python
