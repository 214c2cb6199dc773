# For which GPUs the kernels are compiled: sets RECBLR_CUDA_CODE, as CMAKE_CUDA_ARCHITECTURES takes it. AUTO is this
# machine's GPUs as nvidia-smi knows them; where there is none, or one that the compiler does not know, intermediate code
# (PTX) for the oldest supported one, which the driver of any newer one translates when the library is first used.
cmake_minimum_required(VERSION 3.24) # tests run this file by itself
set(RECBLR_CUDA_ARCHITECTURES AUTO CACHE STRING
    "GPU architectures: AUTO - this machine's, or PTX -, all that are supported, or as CMAKE_CUDA_ARCHITECTURES takes them")
set(all_architectures "80-real;86-real;89-real;90-real;100-real;120")
set(oldest_architecture 80)

if(RECBLR_CUDA_ARCHITECTURES STREQUAL "AUTO")
  set(RECBLR_CUDA_CODE)
  find_program(nvidia_smi nvidia-smi NO_CACHE)
  if(nvidia_smi)
    execute_process(COMMAND ${nvidia_smi} --query-gpu=compute_cap --format=csv,noheader
                    OUTPUT_VARIABLE gpus RESULT_VARIABLE status ERROR_QUIET)
    execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --list-gpu-arch OUTPUT_VARIABLE compiled ERROR_QUIET)
    if(status EQUAL 0)
      string(REGEX MATCHALL "[0-9]+\\.[0-9]+" gpus "${gpus}")
      string(REGEX MATCHALL "[0-9]+" compiled "${compiled}")
      foreach(gpu IN LISTS gpus)
        string(REPLACE "." "" gpu ${gpu})
        if(gpu GREATER_EQUAL oldest_architecture AND gpu IN_LIST compiled)
          list(APPEND RECBLR_CUDA_CODE ${gpu}-real)
        else()
          list(APPEND RECBLR_CUDA_CODE ${oldest_architecture}-virtual)
        endif()
      endforeach()
      list(REMOVE_DUPLICATES RECBLR_CUDA_CODE)
    endif()
  endif()
  if(NOT RECBLR_CUDA_CODE)
    set(RECBLR_CUDA_CODE ${oldest_architecture}-virtual)
  endif()
elseif(RECBLR_CUDA_ARCHITECTURES STREQUAL "all")
  set(RECBLR_CUDA_CODE ${all_architectures})
else()
  set(RECBLR_CUDA_CODE ${RECBLR_CUDA_ARCHITECTURES})
endif()
message(STATUS "CUDA kernels: compiled for ${RECBLR_CUDA_CODE}")
