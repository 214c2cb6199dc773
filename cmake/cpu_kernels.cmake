# recblr_add_kernels(target instruction_set sources options...) compiles files of CPU kernels for one instruction set,
# with RECBLR_ISA its namespace, and makes them part of a target. What calls them takes the best that the machine has.
function(recblr_add_kernels target isa sources)
  set(scope PRIVATE)
  get_target_property(type ${target} TYPE)
  if(type STREQUAL "OBJECT_LIBRARY") # of which only whoever links it can hold other objects
    set(scope INTERFACE)
  endif()
  foreach(source IN LISTS sources)
    string(REPLACE "/" "_" name ${target}_${source}_${isa})
    add_library(${name} OBJECT src/${source}.cpp)
    target_include_directories(${name} PRIVATE src include)
    target_link_libraries(${name} PRIVATE recblr_cpu_headers)
    target_compile_definitions(${name} PRIVATE RECBLR_ISA=${isa})
    # Neither option changes a result; without them square roots and selections are not vectorised.
    target_compile_options(${name} PRIVATE -Wall -Wextra -O3 -fno-math-errno -fno-trapping-math
                           # Else GCC multiplies out what lies behind a clamp, in subnormal numbers: several times slower.
                           $<$<CXX_COMPILER_ID:GNU>:-fno-thread-jumps> ${ARGN})
    if(RECBLR_SANITIZE STREQUAL "thread") # with which GCC 12 compiles loops of AVX-512 wrongly
      target_compile_options(${name} PRIVATE -fno-sanitize=thread)
    endif()
    target_sources(${target} ${scope} $<TARGET_OBJECTS:${name}>)
  endforeach()
endfunction()

# The options of each instruction set. RECBLR_X86 says whether there are others than the baseline.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(RECBLR_X86 ON)
  set(RECBLR_AVX2 -mavx2 -mfma)
  set(RECBLR_AVX512 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mprefer-vector-width=512)
  set(RECBLR_AVX512_VNNI ${RECBLR_AVX512} -mavx512vnni)
endif()
