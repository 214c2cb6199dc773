# The CUDA kernels. The runtime is linked statically and kept inside: the library loads on a machine without a GPU or
# driver, and no other library's CUDA runtime is mistaken for it.
target_sources(recblr_plugins PRIVATE ${RECBLR_CUDA_SOURCES})
list(JOIN RECBLR_CUDA_CODE " " architectures)
set_source_files_properties(src/cuda/architectures.cpp PROPERTIES
                            COMPILE_DEFINITIONS "RECBLR_CUDA_ARCHITECTURES=\"${architectures}\"")
set_target_properties(recblr_plugins PROPERTIES
                      CUDA_STANDARD 17 CUDA_STANDARD_REQUIRED ON CUDA_EXTENSIONS OFF CUDA_VISIBILITY_PRESET hidden
                      CUDA_RUNTIME_LIBRARY Static)
# No contraction: the kernels write out where they multiply and add at once, so that all strategies round alike.
target_compile_options(recblr_plugins PRIVATE "$<$<COMPILE_LANGUAGE:CUDA>:-fmad=false;-Xcompiler=-Wall,-Wextra>")
target_link_options(recblr_plugins PRIVATE -Wl,--exclude-libs,ALL)

if(RECBLR_BUILD_TESTS)
  find_package(CUDAToolkit REQUIRED)
  add_executable(cuda_check tools/cuda_check.cpp)
  target_compile_options(cuda_check PRIVATE -Wall -Wextra)
  target_link_libraries(cuda_check PRIVATE recblr_plugins CUDA::cudart_static)
endif()
