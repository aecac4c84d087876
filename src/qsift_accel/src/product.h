// Products with a packed weight, by oneDNN, which must be open. This file knows no ggml.
#pragma once

#include "onednn.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <tuple>
#include <vector>

namespace qsift {

enum class Mode { exact, bf16, int8 };

// Gives row n of a weight as k float32 numbers.
using Rows = std::function<void(int64_t n, float * out)>;

// A weight of n rows (outputs) and k columns (inputs): one memory layout, whatever it is multiplied with.
class Packing {
public:
    static const Packing & of(Mode mode, int64_t n, int64_t k); // throws dnnl::error

    size_t size() const { return columns_at_ + (mode == Mode::int8 ? 8 * static_cast<size_t>(n) : 0); }

    // Behind the weights in int8, for each column: its scale, and what the activations' zero adds to its sums.
    float * scales(void * packed) const { return reinterpret_cast<float *>(static_cast<char *>(packed) + columns_at_); }
    int32_t * zeros(void * packed) const { return reinterpret_cast<int32_t *>(scales(packed) + n); }

    // Fills size() bytes, aligned to 64.
    void pack(void * packed, const Rows & rows, int n_threads) const;

    const Mode mode;
    const int64_t n, k;
    const int block;
    dnnl::memory::desc layout;

    Packing(Mode mode, int64_t n, int64_t k);

private:
    size_t columns_at_;
};

// Runs products on one thread's behalf: keeps scratch memory, and primitives for the shapes it met.
class Runner {
public:
    int n_threads = 1;

    // The activations that the next products share: m rows of k float32, stride bytes apart.
    void take(Mode mode, const float * rows, size_t stride, int64_t m, int64_t k);

    // out (m, n) float32 = the activations taken × the packed weight.
    void multiply(const Packing & packing, void * packed, float * out);

private:
    struct Prepared {
        dnnl::matmul run;
        dnnl::memory::desc source, target, scratch;
    };
    const Prepared & prepared(const Packing & packing);

    std::map<std::tuple<const Packing *, int64_t, int>, Prepared> prepared_;
    std::unique_ptr<void, void (*)(void *)> activations_{nullptr, nullptr}, scratch_{nullptr, nullptr};
    size_t activations_size_ = 0, scratch_size_ = 0;
    std::vector<float> scales_;
    int64_t m_ = 0, k_ = 0;
};

} // namespace qsift
