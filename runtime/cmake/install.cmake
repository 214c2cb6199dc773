# Installs librecblr for C and C++: libraries, headers, CMake's package and pkg-config's file. In a wheel all lies in
# recblr/runtime, the shared library beside the extension module, which finds it there; it has no static one, and no
# links, which wheels cannot hold.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

add_library(recblr::recblr ALIAS recblr)
add_library(recblr::recblr_static ALIAS recblr_static)
set_target_properties(recblr_static PROPERTIES OUTPUT_NAME recblr)

if(DEFINED SKBUILD)
  set(libraries recblr/runtime)
  set(headers recblr/runtime/include)
  set(package recblr/runtime/cmake/recblr)
  set_target_properties(recblr PROPERTIES VERSION ${PROJECT_VERSION_MAJOR})
else()
  set(libraries ${CMAKE_INSTALL_LIBDIR})
  set(headers ${CMAKE_INSTALL_INCLUDEDIR})
  set(package ${CMAKE_INSTALL_LIBDIR}/cmake/recblr)
endif()
set(shared_options)
if(DEFINED SKBUILD)
  set(shared_options NAMELINK_SKIP)
endif()

install(TARGETS recblr EXPORT recblr LIBRARY DESTINATION ${libraries} COMPONENT recblr ${shared_options}
        INCLUDES DESTINATION ${headers})
install(DIRECTORY include/recblr DESTINATION ${headers} COMPONENT recblr)
install(EXPORT recblr NAMESPACE recblr:: FILE recblrShared.cmake DESTINATION ${package} COMPONENT recblr)
if(NOT DEFINED SKBUILD)
  # What it is linked with is for whoever links it.
  target_link_libraries(recblr_static INTERFACE $<INSTALL_INTERFACE:OpenSSL::Crypto> $<INSTALL_INTERFACE:Threads::Threads>
                                                $<INSTALL_INTERFACE:${CMAKE_DL_LIBS}>)
  include(${CMAKE_CURRENT_LIST_DIR}/merge_archives.cmake)
  recblr_merge_archives(recblr_static RECBLR_STATIC_LIBRARIES) # those left over are for whoever links it, too
  if(RECBLR_WITH_REDIS)
    target_link_libraries(recblr_static INTERFACE $<INSTALL_INTERFACE:OpenSSL::SSL>)
    string(APPEND RECBLR_STATIC_LIBRARIES " -lssl")
  endif()
  install(TARGETS recblr_static EXPORT recblr_static ARCHIVE DESTINATION ${libraries} COMPONENT recblr
          INCLUDES DESTINATION ${headers})
  install(EXPORT recblr_static NAMESPACE recblr:: FILE recblrStatic.cmake DESTINATION ${package} COMPONENT recblr)
  configure_file(cmake/recblr.pc.in recblr.pc @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/recblr.pc DESTINATION ${libraries}/pkgconfig COMPONENT recblr)
endif()

# A build folder is a package, too.
set(built ${CMAKE_CURRENT_BINARY_DIR}/cmake/recblr)
export(EXPORT recblr NAMESPACE recblr:: FILE ${built}/recblrShared.cmake)
configure_package_config_file(cmake/recblrConfig.cmake.in ${built}/recblrConfig.cmake INSTALL_DESTINATION ${package}
                              NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${built}/recblrConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${built}/recblrConfig.cmake ${built}/recblrConfigVersion.cmake DESTINATION ${package} COMPONENT recblr)
