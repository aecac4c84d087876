// Products with a quantised weight in the very arithmetic of its file: whole numbers of eight bits, a scale for each block.
// This file knows no ggml.
#pragma once

#include "kernels.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <vector>

namespace qsift {

// A block of a weight's row: value i is scales[i / 16] * numbers[i] - min.
struct Block {
    int8_t numbers[BLOCK];
    float scales[2], min;
};

// What the types of a file differ in.
struct Format {
    int span;   // activations that share a scale
    int scales; // of a block of the weight: one, or two halves have one each
    bool mins;  // whether a block is shifted
};

// Where the packed weight of n rows (outputs) and k columns (inputs) keeps what; k is a multiple of 32.
Panels panels(const Format & format, int64_t n, int64_t k, void * packed);
size_t packed_size(const Panels & panels);

// Fills the panels; row(n, blocks) gives the k / 32 blocks of row n.
template <typename Row> void pack(const Panels & panels, const Row & row, int n_threads);

// The activations that the next products share, and the products that wait to be computed together.
class ExactRunner {
public:
    // m rows of k float32, stride bytes apart.
    void take(const Format & format, const float * rows, size_t stride, int64_t m, int64_t k, int n_threads);

    // out (m, n) float32 = the activations taken × the packed weight.
    void add(const Panels & panels, float * out) { products_.push_back({panels, out}); }

    // Computes what waits.
    void finish(int n_threads);

private:
    std::unique_ptr<char, void (*)(void *)> memory_{nullptr, nullptr};
    size_t size_ = 0;
    Activations activations_{};
    std::vector<Product> products_;
};

void pack_panel(const Panels & panels, int64_t panel, const Block * blocks);

template <typename Row> void pack(const Panels & panels, const Row & row, int n_threads) {
    const int64_t count = (panels.n + PANEL - 1) / PANEL, blocks = panels.k / BLOCK;
#pragma omp parallel num_threads(n_threads)
    {
        std::vector<Block> of_panel(static_cast<size_t>(PANEL * blocks));
#pragma omp for
        for (int64_t p = 0; p < count; ++p) {
            for (int64_t i = 0; i < PANEL; ++i) {
                Block * to = of_panel.data() + i * blocks;
                if (p * PANEL + i < panels.n) {
                    row(p * PANEL + i, to);
                } else {
                    std::fill(to, to + blocks, Block{}); // beyond the last row
                }
            }
            pack_panel(panels, p, of_panel.data());
        }
    }
}

} // namespace qsift
