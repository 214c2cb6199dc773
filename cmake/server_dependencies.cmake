# What recblr-serve is built with besides the core's own, as imported targets, found as those are:
#   recblr::boost       Asio, Beast and JSON of 1.81 or newer, headers only
#   recblr::cli11, recblr::toml                          headers only
#   recblr::prometheus  prometheus-cpp's core; its sources in the folder come first, since Debian has no static library
#   recblr::zlib
# without any of which there is no server: RECBLR_SERVER, sets RECBLR_WITH_SERVER; and
#   recblr::grpc        gRPC for C++ with protobuf
#   recblr::protoc, recblr::grpc_cpp_plugin              the programs, see recblr_add_protos
# for RECBLR_GRPC, sets RECBLR_WITH_GRPC.
set(RECBLR_SERVER AUTO CACHE STRING "recblr-serve: ON, OFF, or AUTO - where the development files are")
set(RECBLR_GRPC AUTO CACHE STRING "gRPC in recblr-serve: ON, OFF, or AUTO - where the development files are")
set_property(CACHE RECBLR_SERVER RECBLR_GRPC PROPERTY STRINGS AUTO ON OFF)

recblr_import(recblr::boost boost/url.hpp) # a header that 1.80 did not have
if(TARGET recblr::boost)
  # Compiled once, in server/boost.cpp.
  target_compile_definitions(recblr::boost INTERFACE BOOST_ASIO_NO_DEPRECATED BOOST_ASIO_SEPARATE_COMPILATION
                             BOOST_BEAST_SEPARATE_COMPILATION)
endif()
recblr_import(recblr::cli11 CLI/CLI.hpp)
recblr_import(recblr::toml toml++/toml.h)
recblr_import(recblr::zlib zlib.h z)

set(prometheus "${RECBLR_DEPENDENCIES}/src/prometheus-cpp/core")
if(NOT TARGET recblr::prometheus AND EXISTS "${prometheus}/include/prometheus/registry.h")
  message(STATUS "recblr::prometheus: ${prometheus}")
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${prometheus}/src/*.cc")
  add_library(recblr_prometheus STATIC EXCLUDE_FROM_ALL ${sources})
  target_include_directories(recblr_prometheus SYSTEM PUBLIC "${prometheus}/include"
                             "${CMAKE_CURRENT_LIST_DIR}/prometheus")
  target_include_directories(recblr_prometheus PRIVATE "${prometheus}/src")
  target_link_libraries(recblr_prometheus PUBLIC Threads::Threads)
  add_library(recblr::prometheus ALIAS recblr_prometheus)
else()
  recblr_import(recblr::prometheus prometheus/registry.h prometheus-cpp-core)
endif()
set(needed recblr::boost recblr::cli11 recblr::toml recblr::prometheus recblr::zlib recblr::ssl)
recblr_optional(RECBLR_SERVER "recblr-serve" RECBLR_WITH_SERVER ${needed})
set(RECBLR_SERVER_MISSING) # names, for people
foreach(target IN LISTS needed)
  if(NOT TARGET ${target})
    string(REPLACE "recblr::" "" name ${target})
    list(APPEND RECBLR_SERVER_MISSING ${name})
  endif()
endforeach()

recblr_import(recblr::protobuf google/protobuf/message.h protobuf)
if(TARGET recblr::protobuf)
  target_link_libraries(recblr::protobuf INTERFACE Threads::Threads)
endif()
# gRPC's core is a target of its own: what it needs has to come behind it.
recblr_import(recblr::grpc_core grpc/grpc.h grpc address_sorting upb re2 cares gpr)
recblr_import(recblr::grpc grpcpp/grpcpp.h grpc++)
if(TARGET recblr::grpc AND TARGET recblr::grpc_core AND TARGET recblr::protobuf AND TARGET recblr::ssl AND
   TARGET recblr::zlib)
  get_target_property(library recblr::grpc IMPORTED_LOCATION)
  get_filename_component(folder "${library}" DIRECTORY)
  get_filename_component(extension "${library}" LAST_EXT)
  file(GLOB abseil "${folder}/libabsl_*${extension}") # some eighty, which need each other
  list(JOIN abseil "," abseil)
  target_link_libraries(recblr::grpc_core INTERFACE "$<LINK_GROUP:RESCAN,${abseil}>" recblr::ssl recblr::crypto
                                                    recblr::zlib ${CMAKE_DL_LIBS})
  target_link_libraries(recblr::grpc INTERFACE recblr::grpc_core recblr::protobuf)
endif()
foreach(program protoc grpc_cpp_plugin)
  if(NOT TARGET recblr::${program})
    unset(file)
    find_program(file ${program} HINTS "${RECBLR_DEPENDENCIES}/bin" NO_CACHE)
    if(file)
      message(STATUS "recblr::${program}: ${file}")
      add_executable(recblr::${program} IMPORTED GLOBAL)
      set_target_properties(recblr::${program} PROPERTIES IMPORTED_LOCATION "${file}")
    endif()
  endif()
endforeach()
if(RECBLR_WITH_SERVER)
  recblr_optional(RECBLR_GRPC "gRPC in recblr-serve" RECBLR_WITH_GRPC recblr::grpc recblr::grpc_core recblr::protobuf
                  recblr::protoc recblr::grpc_cpp_plugin)
else()
  set(RECBLR_WITH_GRPC OFF)
endif()

# recblr_add_protos(name protos...): a static library of the messages and services of .proto files of the current folder.
# Its headers are included by the file's name: "service.grpc.pb.h".
function(recblr_add_protos name)
  set(generated)
  foreach(proto ${ARGN})
    get_filename_component(stem ${proto} NAME_WE)
    set(path ${CMAKE_CURRENT_BINARY_DIR}/${stem})
    set(outputs ${path}.pb.h ${path}.pb.cc ${path}.grpc.pb.h ${path}.grpc.pb.cc)
    # The libraries that our programs need lie beside them.
    add_custom_command(
      OUTPUT ${outputs} DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${proto} VERBATIM
      COMMAND ${CMAKE_COMMAND} -E env "LD_LIBRARY_PATH=${RECBLR_DEPENDENCIES}/bin" $<TARGET_FILE:recblr::protoc>
              --proto_path=${CMAKE_CURRENT_SOURCE_DIR} --cpp_out=${CMAKE_CURRENT_BINARY_DIR}
              --grpc_out=${CMAKE_CURRENT_BINARY_DIR}
              --plugin=protoc-gen-grpc=$<TARGET_FILE:recblr::grpc_cpp_plugin> ${proto})
    list(APPEND generated ${outputs})
  endforeach()
  add_library(${name} STATIC ${generated})
  target_include_directories(${name} SYSTEM PUBLIC ${CMAKE_CURRENT_BINARY_DIR})
  target_link_libraries(${name} PUBLIC recblr::grpc)
endfunction()
