# How all C++ of the project is compiled: standard, visibility, build type, sanitizers.
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

# What `make setup` has put there, so that a checkout's builds share what they compile. Not under sanitizers: nothing else
# has those options.
set(ccache "${CMAKE_CURRENT_LIST_DIR}/../build/ccache/ccache")
if(NOT CMAKE_CXX_COMPILER_LAUNCHER AND NOT RECBLR_SANITIZE AND EXISTS "${ccache}")
  get_filename_component(CMAKE_CXX_COMPILER_LAUNCHER "${ccache}" ABSOLUTE)
endif()

find_package(Threads REQUIRED)

set(sanitizers_of_OFF "")
set(sanitizers_of_address address,undefined)
set(sanitizers_of_thread thread)
if(NOT DEFINED sanitizers_of_${RECBLR_SANITIZE})
  message(FATAL_ERROR "RECBLR_SANITIZE is ${RECBLR_SANITIZE}: give address, thread or OFF")
endif()
if(sanitizers_of_${RECBLR_SANITIZE})
  set(CMAKE_CXX_FLAGS_RELEASE "-O1 -DNDEBUG") # compiled in half the time; the kernels have -O3 of their own
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-g1> $<$<COMPILE_LANGUAGE:CXX>:-fno-omit-frame-pointer>
                      $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${sanitizers_of_${RECBLR_SANITIZE}}>
                      $<$<COMPILE_LANGUAGE:CXX>:-fno-sanitize-recover=all>)
  add_link_options(-fsanitize=${sanitizers_of_${RECBLR_SANITIZE}})
endif()
