// The blocks of ggml's quantised types.
#pragma once

#include "exact.h"
#include "ggml.h"

namespace qsift {

// How a type's blocks are computed with, or null for a type that this plug-in leaves to ggml.
const Format * format_of(ggml_type type);

// Fills the panels from a weight of that type.
void pack(const Panels & panels, ggml_type type, const void * weight, int n_threads);

} // namespace qsift
