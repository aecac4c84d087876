// What runs on packed weights, and beside them: products, the attention between two of them, the norms before them.
#pragma once

#include "ggml-backend-impl.h"
#include "exact.h"
#include "product.h"

namespace qsift {

// Whether compute() takes the operation.
bool supports(const ggml_tensor * op);

// What computes on one thread's behalf.
struct Runners {
    int n_threads = 1;
    Runner onednn;
    ExactRunner exact;
};

// Computes a graph of operations that are supported, and views. Throws what oneDNN throws.
void compute(Runners & runners, ggml_cgraph * graph);

} // namespace qsift
