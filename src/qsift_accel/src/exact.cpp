#include "exact.h"

#include <cstdlib>
#include <cstring>
#include <new>

namespace qsift {

Panels panels(const Format & format, int64_t n, int64_t k, void * packed) {
    return {static_cast<char *>(packed), n, k, format.scales, format.mins};
}

size_t packed_size(const Panels & panels) {
    return panels.panel_size() * static_cast<size_t>((panels.n + PANEL - 1) / PANEL);
}

void pack_panel(const Panels & panels, int64_t panel, const Block * blocks) {
    const int64_t count = panels.k / BLOCK;
    for (int64_t b = 0; b < count; ++b) {
        char * to = panels.data + panels.panel_size() * static_cast<size_t>(panel) + panels.block_size() * static_cast<size_t>(b);
        float * factors = reinterpret_cast<float *>(to + BLOCK * PANEL);
        for (int channel = 0; channel < PANEL; ++channel) {
            const Block & block = blocks[channel * count + b];
            for (int i = 0; i < BLOCK; i += 4) {
                uint32_t four;
                std::memcpy(&four, block.numbers + i, sizeof four);
                four ^= 0x80808080; // each larger by ZERO
                std::memcpy(to + (i / 4 * PANEL + channel) * 4, &four, sizeof four);
            }
            for (int s = 0; s < panels.scales; ++s) factors[s * PANEL + channel] = block.scales[s];
            if (panels.mins) {
                factors[panels.scales * PANEL + channel] = block.min;
            }
        }
    }
}

void ExactRunner::take(const Format & format, const float * rows, size_t stride, int64_t m, int64_t k, int n_threads) {
    const auto rounded = [](size_t size) { return (size + 63) / 64 * 64; };
    const size_t count = static_cast<size_t>(m), blocks = static_cast<size_t>(k / BLOCK), parts = static_cast<size_t>(format.scales);
    // A line more, so that rows of a power of two do not all lie in the same places of the cache.
    const size_t row = rounded(static_cast<size_t>(k)) + 64;
    const size_t numbers = row * count, floats = rounded(4 * blocks * count);
    const size_t size = numbers + (2 + parts) * floats;
    if (size_ < size) {
        memory_ = {nullptr, nullptr};
        size_ = size;
        memory_ = {static_cast<char *>(std::aligned_alloc(64, size)), std::free};
        if (!memory_) {
            size_ = 0;
            throw std::bad_alloc();
        }
    }
    char * place = memory_.get();
    activations_ = {reinterpret_cast<int8_t *>(place), row, m, k, reinterpret_cast<float *>(place + numbers), reinterpret_cast<float *>(place + numbers + floats),
                    reinterpret_cast<int32_t *>(place + numbers + 2 * floats), format.scales};
#pragma omp parallel for num_threads(n_threads) if (m > 1)
    for (int64_t i = 0; i < m; ++i) {
        const char * source = reinterpret_cast<const char *>(rows) + stride * static_cast<size_t>(i);
        kernels().quantize_blocks(reinterpret_cast<const float *>(source), i, format.span, activations_);
    }
}

void ExactRunner::finish(int n_threads) {
    if (!products_.empty()) {
        kernels().multiply_panels(products_.data(), static_cast<int>(products_.size()), activations_, n_threads);
        products_.clear();
    }
}

} // namespace qsift
