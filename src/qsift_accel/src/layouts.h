// How each mode packs a weight and multiplies with it: what differs between exact and oneDNN's modes stands here alone.
#pragma once

#include "exact.h"
#include "ggml.h"
#include "product.h"

namespace qsift {

// What computes products on one thread's behalf.
struct Runners {
    int n_threads = 1;
    Runner onednn;
    ExactRunner exact;
};

class Layout {
public:
    const Mode mode;
    const char * const name; // of its buffers

    // The bytes that a weight takes. Throws where there is no kernel for it.
    virtual size_t size(const ggml_tensor * weight) const = 0;

    // Packs the data to where the tensor lies.
    virtual void pack(const ggml_tensor * weight, const void * data, int n_threads) const = 0;

    // What the activations are quantised for: products that share it and their input take that once. Null in oneDNN's modes.
    virtual const Format * format(const ggml_tensor * weight) const = 0;
    virtual void take(Runners & runners, const ggml_tensor * weight, const ggml_tensor * input) const = 0;

    // out = what was taken × the weight; in the mode exact it is there when runners.exact has finished.
    virtual void multiply(Runners & runners, const ggml_tensor * weight, float * out) const = 0;

protected:
    Layout(Mode mode, const char * name) : mode(mode), name(name) {}
    ~Layout() = default;
};

const Layout & layout(Mode mode);

} // namespace qsift
