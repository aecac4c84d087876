// oneDNN's C++ interface over a library that is opened when a model needs it: the mode exact never does.
#pragma once

#include <oneapi/dnnl/dnnl.h>

// The functions of its C interface that dnnl.hpp calls here.
#define QSIFT_ONEDNN_FUNCTIONS(X)                                                                                        \
    X(dnnl_engine_create) X(dnnl_engine_destroy) X(dnnl_matmul_primitive_desc_create) X(dnnl_memory_create_v2)           \
    X(dnnl_memory_desc_clone) X(dnnl_memory_desc_create_with_tag) X(dnnl_memory_desc_destroy)                            \
    X(dnnl_memory_desc_get_size_v2) X(dnnl_memory_destroy) X(dnnl_memory_get_engine) X(dnnl_memory_get_memory_desc)      \
    X(dnnl_primitive_attr_create) X(dnnl_primitive_attr_destroy) X(dnnl_primitive_attr_set_scratchpad_mode)              \
    X(dnnl_primitive_create) X(dnnl_primitive_desc_destroy) X(dnnl_primitive_desc_query)                                 \
    X(dnnl_primitive_desc_query_md) X(dnnl_primitive_destroy) X(dnnl_primitive_execute)                                  \
    X(dnnl_reorder_primitive_desc_create) X(dnnl_set_max_cpu_isa) X(dnnl_stream_create) X(dnnl_stream_destroy)           \
    X(dnnl_stream_wait) X(dnnl_version)

// dnnl.hpp's code stands in this namespace, so a pointer declared here before it is what it calls by the function's name.
// One that is forgotten stays a function of a library that is not linked, and the plug-in does not load.
namespace dnnl {
#define QSIFT_DECLARE(name) inline decltype(&::name) name = nullptr;
QSIFT_ONEDNN_FUNCTIONS(QSIFT_DECLARE)
#undef QSIFT_DECLARE
}

#include <oneapi/dnnl/dnnl.hpp>

namespace qsift {

// Returns oneDNN's version. The first call opens the library at the path, for as long as the process lives, and holds it to
// the instruction set that kernels() has; what needs oneDNN is called after it. Throws where the library does not load.
const char * open_onednn(const char * path);

} // namespace qsift
