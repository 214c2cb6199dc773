# The CUDA kernels run on the CPU by an emulator, and a check of them: for tests. The library is not for use.
foreach(source IN LISTS RECBLR_CUDA_SOURCES)
  # For C++, which the ending .cu is not.
  cmake_path(GET source STEM name)
  set(copy ${CMAKE_CURRENT_BINARY_DIR}/emulated_${name}.cpp)
  file(CONFIGURE OUTPUT ${copy} CONTENT "#include \"${CMAKE_CURRENT_SOURCE_DIR}/${source}\"\n")
  target_sources(recblr_plugins PRIVATE ${copy})
  # No contraction, as nvcc is told: the kernels write out where they multiply and add at once.
  set_source_files_properties(${copy} PROPERTIES COMPILE_OPTIONS "-Wno-unknown-pragmas;-ffp-contract=off;-O1")
endforeach()
target_sources(recblr_plugins PRIVATE emulation/cuda_emulator.cpp)
target_include_directories(recblr_plugins PRIVATE emulation)
target_compile_definitions(recblr_plugins PRIVATE RECBLR_CUDA_ARCHITECTURES="emulated")

add_executable(cuda_check tools/cuda_check.cpp)
target_compile_definitions(cuda_check PRIVATE RECBLR_EMULATED)
target_compile_options(cuda_check PRIVATE -Wall -Wextra)
target_link_libraries(cuda_check PRIVATE recblr_plugins)
