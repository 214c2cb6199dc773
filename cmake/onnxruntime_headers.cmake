# Finds ONNX Runtime's headers, with which the library carries its operators: in ONNXRUNTIME_ROOT where that is given, else
# the system's, else those that tools/get_onnxruntime_headers.py has put into build/. Sets ONNXRUNTIME_INCLUDE_DIR.
set(ONNXRUNTIME_ROOT "$ENV{ONNXRUNTIME_ROOT}" CACHE STRING
    "Folder of an installed ONNX Runtime, for its headers; OFF builds without")
set(RECBLR_ONNXRUNTIME_API 17) # the oldest headers that have all that is used

unset(ONNXRUNTIME_INCLUDE_DIR)
set(suffixes include/onnxruntime include include/onnxruntime/core/session onnxruntime)
if(ONNXRUNTIME_ROOT)
  find_path(ONNXRUNTIME_INCLUDE_DIR onnxruntime_c_api.h PATHS "${ONNXRUNTIME_ROOT}" PATH_SUFFIXES ${suffixes}
            NO_DEFAULT_PATH NO_CACHE)
  if(NOT ONNXRUNTIME_INCLUDE_DIR)
    message(FATAL_ERROR "ONNXRUNTIME_ROOT is ${ONNXRUNTIME_ROOT}, which has no onnxruntime_c_api.h: give the folder "
                        "that an ONNX Runtime was installed or unpacked to")
  endif()
elseif("${ONNXRUNTIME_ROOT}" STREQUAL "")
  find_path(ONNXRUNTIME_INCLUDE_DIR onnxruntime_c_api.h PATHS "${CMAKE_CURRENT_LIST_DIR}/../build/onnxruntime"
            PATH_SUFFIXES ${suffixes} NO_CACHE)
endif()

if(ONNXRUNTIME_INCLUDE_DIR)
  file(STRINGS "${ONNXRUNTIME_INCLUDE_DIR}/onnxruntime_c_api.h" line REGEX "^#define ORT_API_VERSION [0-9]+")
  string(REGEX MATCH "[0-9]+" version "${line}")
  if(NOT version OR version LESS RECBLR_ONNXRUNTIME_API)
    message(WARNING "the headers in ${ONNXRUNTIME_INCLUDE_DIR} are of API version '${version}', "
                    "${RECBLR_ONNXRUNTIME_API} or newer is needed: they are not used")
    unset(ONNXRUNTIME_INCLUDE_DIR)
  endif()
endif()
if(ONNXRUNTIME_INCLUDE_DIR)
  message(STATUS "operators for ONNX Runtime: built with the headers in ${ONNXRUNTIME_INCLUDE_DIR}")
else()
  message(STATUS "operators for ONNX Runtime: not built; give its folder as ONNXRUNTIME_ROOT")
endif()
