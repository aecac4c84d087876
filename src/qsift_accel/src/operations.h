// What runs on packed weights, and beside them: products, the attention between two of them, the norms before them.
#pragma once

#include "ggml-backend-impl.h"
#include "layouts.h"

namespace qsift {

// Whether compute() takes the operation.
bool supports(const ggml_tensor * op);

// Whether the contexts that this thread plans and runs read the vocabulary's logits. llama.cpp computes and copies them for
// every output of an embedding context too; where nobody reads them, supports() takes the head and compute() leaves it out.
extern thread_local bool logits_are_read;
bool is_unread_head(const ggml_tensor * op);

// Computes a graph of operations that are supported, and views. Throws what oneDNN throws.
void compute(Runners & runners, ggml_cgraph * graph);

} // namespace qsift
