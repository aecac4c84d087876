// Attention with both products in float32.
#include "attention.h"

namespace qsift::QSIFT_LEVEL {

namespace {

constexpr int BESIDE = LANES == 16 ? 4 : 2; // vectors that stay in registers beside each other

// Adds to c (m, ROWS) the product of a, whose element (i, j) is a[i * step_m + j * step_n], and b (n, ROWS); m is a
// multiple of four.
template <int ROWS>
void multiply(const float * a, int64_t step_m, int64_t step_n, const float * b, float * c, int64_t m, int64_t n) {
    constexpr int WIDE = std::min<int>(BESIDE, ROWS / LANES);
    for (int column = 0; column < ROWS; column += WIDE * LANES) {
        for (int64_t i = 0; i < m; i += 4) {
            Vector sums[4][WIDE];
            for (int y = 0; y < 4; ++y) {
                for (int x = 0; x < WIDE; ++x) sums[y][x] = load(c + (i + y) * ROWS + column + x * LANES);
            }
            for (int64_t j = 0; j < n; ++j) {
                Vector right[WIDE];
                for (int x = 0; x < WIDE; ++x) right[x] = load(b + j * ROWS + column + x * LANES);
                for (int y = 0; y < 4; ++y) {
                    const float left = a[(i + y) * step_m + j * step_n];
                    for (int x = 0; x < WIDE; ++x) sums[y][x] += left * right[x];
                }
            }
            for (int y = 0; y < 4; ++y) {
                for (int x = 0; x < WIDE; ++x) store(c + (i + y) * ROWS + column + x * LANES, sums[y][x]);
            }
        }
    }
}

template <int SIZE> struct Float32 {
    static constexpr int ROWS = SIZE, TILE = 32;
    typedef float Queries[MAX_HEAD_WIDTH * ROWS] __attribute__((aligned(64)));
    struct Thread {};

    void turn_queries(const float * rows, Queries & out) const { transpose(rows, width, out, ROWS, ROWS, width); }

    void read(const Heads & its_keys, const Heads & its_values, int64_t cells) {
        to_float(its_keys, keys, cells);
        to_float(its_values, values, cells);
    }

    // scores (cells, ROWS) = keys × queries.
    void score(const Queries & queries, int64_t cells, float * scores) const {
        const int64_t padded = (cells + 3) / 4 * 4;
        std::fill(scores, scores + padded * ROWS, 0.0f);
        multiply<ROWS>(keys, width, 1, queries, scores, padded, width);
    }

    // sums (width, ROWS) += values, transposed, × weights (cells, ROWS).
    void add(const float * weights, int64_t cells, float * sums) const { multiply<ROWS>(values, 1, width, weights, sums, width, cells); }

    void to_float(const Heads & from, float * out, int64_t cells) const {
        for (int64_t c = 0; c < cells; ++c) {
            const char * place = from.data + from.row * static_cast<size_t>(c);
            for (int64_t d = 0; d < width; d += LANES) store(out + c * width + d, load_half(place + 2 * d));
        }
    }

    int64_t width;
    alignas(64) float keys[TILE * MAX_HEAD_WIDTH], values[TILE * MAX_HEAD_WIDTH];
};

} // namespace

void attend(const Attention & work, int n_threads) { attend_in<Float32>(work, n_threads); }

} // namespace qsift::QSIFT_LEVEL
