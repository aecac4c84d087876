// ggml buffers that hold packed weights.
#pragma once

#include "ggml-backend-impl.h"
#include "layouts.h"

#include <atomic>

namespace qsift {

inline std::atomic<size_t> packed_bytes{0}; // of all models in memory
inline std::atomic<int> pack_threads{1};

// Whether buffers of this type hold packed weights.
bool is_ours(ggml_backend_buffer_type_t buft);

// How a buffer of a type of ours keeps weights.
const Layout & layout_of(ggml_backend_buffer_type_t buft);

// A NULL-terminated array, as ggml's own CPU backend gives one: exact, bf16, int8.
ggml_backend_buffer_type_t * extra_bufts(ggml_backend_dev_t device);

} // namespace qsift
