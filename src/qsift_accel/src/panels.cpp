// Products of quantised activations with panels of a quantised weight; QSIFT_LEVEL is the instruction set that this copy
// is compiled for.
//
// A tile's sums stay in registers from its first block to its last: for each block whole numbers are multiplied and
// summed four at a time, the sum becomes a float and is added with both scales. The instruction multiplies an unsigned
// number with a signed one, so weights are stored 128 too large, and a sum starts at -128 times the sum of its activations.
#include "kernels.h"
#include "vector.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace qsift::QSIFT_LEVEL {

namespace {

constexpr int VECTORS = PANEL / LANES; // of a panel
#if defined(__AVX512F__)
constexpr int MOST_PANELS = 2, MOST_ROWS = 6; // of a tile, so that it and what it takes stay in 32 registers
#else
constexpr int MOST_PANELS = 1, MOST_ROWS = 3; // in 16 registers
#endif
constexpr int64_t ROWS_AT_ONCE = 48;  // of activations, that stay near while panels go by
constexpr int64_t PANELS_AT_ONCE = 8; // that a thread takes

// Rows × panels of a product.
template <int ROWS, int PANELS, int SCALES, bool MINS>
void tile(const Panels & panels, int64_t panel, const Activations & taken, int64_t row, float * out) {
    constexpr int WIDE = PANELS * VECTORS;
    const size_t panel_size = panels.panel_size();
    const int64_t blocks = panels.k / BLOCK;
    const char * block = panels.data + panel_size * static_cast<size_t>(panel);
    const int8_t * numbers = taken.numbers + taken.row * static_cast<size_t>(row);
    const float * scales = taken.scales + row * blocks;
    const float * sums = taken.sums + row * blocks;
    const int32_t * starts = taken.starts + row * blocks * SCALES;
    const auto at = [&](int x, size_t offset) { return block + panel_size * (x / VECTORS) + offset + sizeof(Vector) * (x % VECTORS); };
    Vector total[ROWS][WIDE] = {};
    for (int64_t b = 0; b < blocks; ++b) {
#pragma GCC unroll 2
        for (int s = 0; s < SCALES; ++s) {
            Integers sum[ROWS][WIDE];
#pragma GCC unroll 8
            for (int y = 0; y < ROWS; ++y) {
#pragma GCC unroll 4
                for (int x = 0; x < WIDE; ++x) sum[y][x] = Integers{} + starts[y * blocks * SCALES + b * SCALES + s];
            }
#pragma GCC unroll 8
            for (int i = 0; i < 8 / SCALES; ++i) {
                const int group = s * 8 / SCALES + i;
                Integers right[WIDE];
#pragma GCC unroll 4
                for (int x = 0; x < WIDE; ++x) right[x] = load_integers(at(x, 4 * PANEL * group));
#pragma GCC unroll 8
                for (int y = 0; y < ROWS; ++y) {
                    int32_t four;
                    std::memcpy(&four, numbers + taken.row * y + sizeof four * group, sizeof four);
#pragma GCC unroll 4
                    for (int x = 0; x < WIDE; ++x) sum[y][x] = add_products(sum[y][x], right[x], Integers{} + four);
                }
            }
#pragma GCC unroll 4
            for (int x = 0; x < WIDE; ++x) {
                const Vector factors = load(reinterpret_cast<const float *>(at(x, BLOCK * PANEL + 4 * PANEL * s)));
#pragma GCC unroll 8
                for (int y = 0; y < ROWS; ++y) total[y][x] += to_float(sum[y][x]) * (factors * scales[y * blocks + b]);
            }
        }
        if (MINS) {
#pragma GCC unroll 4
            for (int x = 0; x < WIDE; ++x) {
                const Vector mins = load(reinterpret_cast<const float *>(at(x, BLOCK * PANEL + 4 * PANEL * SCALES)));
#pragma GCC unroll 8
                for (int y = 0; y < ROWS; ++y) total[y][x] -= mins * sums[y * blocks + b];
            }
        }
        block += panels.block_size();
        numbers += BLOCK;
    }
    const int64_t column = panel * PANEL, columns = std::min<int64_t>(PANELS * PANEL, panels.n - column);
    for (int y = 0; y < ROWS; ++y) {
        float * to = out + (row + y) * panels.n + column;
        if (columns == PANELS * PANEL) {
            for (int x = 0; x < WIDE; ++x) store(to + x * LANES, total[y][x]);
        } else {
            float whole[PANELS * PANEL];
            for (int x = 0; x < WIDE; ++x) store(whole + x * LANES, total[y][x]);
            std::memcpy(to, whole, sizeof(float) * static_cast<size_t>(columns));
        }
    }
}

template <int ROWS, int PANELS, int SCALES, bool MINS>
void tiles(const Panels & panels, int64_t panel, const Activations & taken, int64_t row, int64_t last, float * out) {
    for (; row + ROWS <= last; row += ROWS) tile<ROWS, PANELS, SCALES, MINS>(panels, panel, taken, row, out);
    if constexpr (ROWS > 1) {
        if (row < last) {
            tiles<ROWS - 1, PANELS, SCALES, MINS>(panels, panel, taken, row, last, out);
        }
    }
}

template <int SCALES, bool MINS> void chunk(const Product & product, int64_t first, int64_t end, const Activations & taken) {
    for (int64_t row = 0; row < taken.m; row += ROWS_AT_ONCE) {
        const int64_t last = std::min(row + ROWS_AT_ONCE, taken.m);
        int64_t panel = first;
        for (; panel + MOST_PANELS <= end; panel += MOST_PANELS) {
            tiles<MOST_ROWS, MOST_PANELS, SCALES, MINS>(product.weight, panel, taken, row, last, product.out);
        }
        for (; panel < end; ++panel) tiles<MOST_ROWS, 1, SCALES, MINS>(product.weight, panel, taken, row, last, product.out);
    }
}

int64_t chunks_of(const Product & product) {
    constexpr int64_t columns = PANEL * PANELS_AT_ONCE;
    return (product.weight.n + columns - 1) / columns;
}

} // namespace

void quantize_blocks(const float * row, int64_t number, int span, const Activations & taken) {
    const int64_t blocks = taken.k / BLOCK;
    int8_t * numbers = taken.numbers + taken.row * static_cast<size_t>(number);
    float *scales = taken.scales + number * blocks, *sums = taken.sums + number * blocks;
    int32_t * starts = taken.starts + number * blocks * taken.parts;
    const int length = BLOCK / taken.parts;
    for (int64_t first = 0; first < taken.k; first += span) {
        const uint32_t largest = largest_bits(row + first, span);
        float max;
        std::memcpy(&max, &largest, 4);
        float inverse = 127.0f / max;
        const bool is_zero = !std::isfinite(inverse);
        // ggml keeps the scale of 32 in half precision and that of 256 whole.
        float scale = span == BLOCK ? _cvtsh_ss(_cvtss_sh(max / 127.0f, 0)) : 1.0f / inverse;
        if (is_zero || largest >= INFINITE) {
            inverse = 0;
            scale = largest >= INFINITE ? std::numeric_limits<float>::quiet_NaN() : 0;
        }
        for (int64_t b = first / BLOCK; b < (first + span) / BLOCK; ++b) {
            int32_t whole[BLOCK], total = 0;
            const float * from = row + b * BLOCK;
            for (int i = 0; i < BLOCK; ++i) whole[i] = nearest(from[i] * inverse);
            if (scale != scale) {
                std::memset(whole, 0, sizeof whole);
            }
            for (int i = 0; i < BLOCK; ++i) numbers[b * BLOCK + i] = static_cast<int8_t>(whole[i]);
            for (int p = 0; p < taken.parts; ++p) {
                int32_t sum = 0;
                for (int i = 0; i < length; ++i) sum += whole[p * length + i];
                starts[b * taken.parts + p] = -ZERO * sum;
                total += sum;
            }
            scales[b] = scale;
            sums[b] = scale * static_cast<float>(total);
        }
    }
}

void multiply_panels(const Product * products, int count, const Activations & taken, int n_threads) {
    int64_t chunks = 0;
    for (int i = 0; i < count; ++i) chunks += chunks_of(products[i]);
#pragma omp parallel for num_threads(n_threads) schedule(dynamic)
    for (int64_t i = 0; i < chunks; ++i) {
        const Product * product = products;
        int64_t number = i;
        for (; number >= chunks_of(*product); ++product) number -= chunks_of(*product);
        const Panels & weight = product->weight;
        const int64_t first = number * PANELS_AT_ONCE, end = std::min(first + PANELS_AT_ONCE, (weight.n + PANEL - 1) / PANEL);
        if (weight.mins) {
            chunk<1, true>(*product, first, end, taken);
        } else if (weight.scales == 2) {
            chunk<2, false>(*product, first, end, taken);
        } else {
            chunk<1, false>(*product, first, end, taken);
        }
    }
}

} // namespace qsift::QSIFT_LEVEL
