// Attention in blocks, with the softmax computed as the cells go by (Milakov and Gimelshein 2018; Dao et al. 2022).
//
// Rows are a block's queries times the heads that share keys and values. They lie across the vectors, so scores are kept
// as (cells, rows) and sums as (width, rows): both products then multiply one number with a vector of rows, and the
// softmax never leaves its lane. Tiles that the mask hides from a whole block are skipped, which is most of a cache
// that many sequences share.
#include "kernels.h"
#include "vector.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

namespace qsift::QSIFT_LEVEL {

namespace {

constexpr int PANEL = LANES == 16 ? 4 : 2; // vectors that stay in registers beside each other
constexpr int64_t TILE = 32;      // cells
constexpr int64_t MOST_ROWS = 64; // of a block
constexpr float HIDDEN = -std::numeric_limits<float>::infinity();

Vector max(Vector a, Vector b) { return a > b ? a : b; }

// e to the power of x, for x <= 0, within 2e-7 of its value: 2^n times a polynomial for the rest.
Vector exponential(Vector x) {
    const Vector floor = Vector{} - 87.0f;
    const auto tiny = x < floor; // counts as nothing, and so does -inf
    x = tiny ? floor : x;
    constexpr float round = 12582912.0f; // 1.5 * 2^23: adding it leaves the nearest whole number in the low bits
    const Vector shifted = x * 1.44269504f + round;
    const Vector n = shifted - round;
    const Vector r = x - n * 0.693359375f + n * 2.12194440e-4f;
    Vector p = r * (1.0f / 720) + (1.0f / 120);
    p = p * r + (1.0f / 24);
    p = p * r + (1.0f / 6);
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    Integers bits, power;
    std::memcpy(&bits, &shifted, sizeof bits);
    std::memcpy(&power, &p, sizeof power);
    power += bits << 23;
    std::memcpy(&p, &power, sizeof p);
    return tiny ? Vector{} : p;
}

void to_float(const char * from, float * out, int64_t n) {
    for (int64_t i = 0; i < n; i += LANES) store(out + i, load_half(from + 2 * i));
}

// Writes the 8 x 8 numbers at from, whose rows are from_row numbers apart, as columns at to.
void transpose_8(const float * from, int64_t from_row, float * to, int64_t to_row) {
    __m256 rows[8], pairs[8], fours[8];
    for (int i = 0; i < 8; ++i) rows[i] = _mm256_loadu_ps(from + i * from_row);
    for (int i = 0; i < 8; i += 2) {
        pairs[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        fours[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
        fours[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xee);
        fours[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
        fours[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xee);
    }
    for (int i = 0; i < 4; ++i) {
        _mm256_storeu_ps(to + i * to_row, _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x20));
        _mm256_storeu_ps(to + (i + 4) * to_row, _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x31));
    }
}

// Writes from (n, m) as to (m, n), multiples of 8.
void transpose(const float * from, int64_t from_row, float * to, int64_t to_row, int64_t n, int64_t m) {
    for (int64_t j = 0; j < m; j += 8) {
        for (int64_t i = 0; i < n; i += 8) transpose_8(from + i * from_row + j, from_row, to + j * to_row + i, to_row);
    }
}

// Adds to c (m, rows) the product of a, whose element (i, j) is a[i * step_m + j * step_n], and b (n, rows); m is a
// multiple of four.
template <int ROWS>
void multiply(const float * a, int64_t step_m, int64_t step_n, const float * b, float * c, int64_t m, int64_t n) {
    constexpr int WIDE = std::min<int>(PANEL, ROWS / LANES);
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

// What the mask does with a tile.
enum View : char { none, all, some };

View view(const Attention & work, int64_t query, int64_t queries, int64_t cell, int64_t cells) {
    uint16_t from_zero = 0, from_hidden = 0;
    for (int64_t q = query; q < query + queries; ++q) {
        const char * row = work.mask + work.mask_row * static_cast<size_t>(q);
        for (int64_t c = cell; c < cell + cells; ++c) {
            uint16_t bits;
            std::memcpy(&bits, row + 2 * c, 2);
            from_zero |= bits;
            from_hidden |= bits ^ 0xfc00; // -inf
        }
    }
    return from_zero == 0 ? all : from_hidden == 0 ? none : some;
}

// One block's sums, and the memory that it needs; a thread takes the same for one block after the other. Row
// h * step + i is the block's query i in the h-th of the heads that share keys and values.
template <int ROWS> class Block {
public:
    explicit Block(const Attention & work) : work(work), step(ROWS / (work.heads / work.kv_heads)) {}

    void begin(int64_t first_query, int64_t head) {
        query = first_query, queries = std::min(step, work.queries - first_query), kv_head = head;
        const size_t size = sizeof(float) * static_cast<size_t>(work.width);
        std::memset(tile, 0, size * ROWS);
        for_each_row([&](int64_t row, int64_t q, int64_t h) {
            const char * place = work.q.data + work.q.row * static_cast<size_t>(q) + work.q.head * static_cast<size_t>(h);
            std::memcpy(tile + row * work.width, place, size);
        });
        for (int64_t i = 0; i < ROWS * work.width; ++i) tile[i] *= work.scale;
        transpose(tile, work.width, rows, ROWS, ROWS, work.width);
        std::memset(sums, 0, size * ROWS);
        std::memset(total, 0, sizeof total);
        std::fill(std::begin(largest), std::end(largest), HIDDEN);
    }

    void add(int64_t cell, int64_t cells, View view) {
        const int64_t padded = (cells + 3) / 4 * 4;
        read(work.k, cell, cells);
        std::memset(scores, 0, sizeof(float) * static_cast<size_t>(padded * ROWS));
        multiply<ROWS>(tile, work.width, 1, rows, scores, padded, work.width);
        if (view == some) {
            hide(cell, cells);
        }
        weigh(cells);
        read(work.v, cell, cells);
        multiply<ROWS>(tile, 1, work.width, scores, sums, work.width, cells);
    }

    void finish() {
        transpose(sums, ROWS, tile, work.width, work.width, ROWS);
        for_each_row([&](int64_t row, int64_t q, int64_t h) {
            float * out = work.out + (q * work.heads + h) * work.width;
            const float share = total[row] == 0 ? 0 : 1 / total[row];
            for (int64_t d = 0; d < work.width; ++d) out[d] = tile[row * work.width + d] * share;
        });
    }

private:
    template <typename Work> void for_each_row(const Work & with) const {
        const int64_t group = work.heads / work.kv_heads;
        for (int64_t h = 0; h < group; ++h) {
            for (int64_t i = 0; i < queries; ++i) with(h * step + i, query + i, kv_head * group + h);
        }
    }

    void read(const Heads & from, int64_t cell, int64_t cells) {
        for (int64_t c = 0; c < cells; ++c) {
            const size_t place = from.row * static_cast<size_t>(cell + c) + from.head * static_cast<size_t>(kv_head);
            to_float(from.data + place, tile + c * work.width, work.width);
        }
    }

    void hide(int64_t cell, int64_t cells) {
        alignas(64) float added[MOST_ROWS * TILE] = {}, turned[TILE * MOST_ROWS]; // (queries, cells), (cells, queries)
        for (int64_t i = 0; i < queries; ++i) {
            const char * row = work.mask + work.mask_row * static_cast<size_t>(query + i) + 2 * cell;
            for (int64_t c = 0; c < cells; ++c) {
                uint16_t bits;
                std::memcpy(&bits, row + 2 * c, 2);
                added[i * TILE + c] = _cvtsh_ss(bits);
            }
        }
        transpose(added, TILE, turned, MOST_ROWS, (queries + 7) / 8 * 8, TILE);
        for (int64_t c = 0; c < cells; ++c) {
            for (int64_t first = 0; first + step <= ROWS; first += step) {
                for (int64_t i = 0; i < queries; ++i) scores[c * ROWS + first + i] += turned[c * MOST_ROWS + i];
            }
        }
    }

    // Scores become weights, relative to the largest score so far; what was summed before is brought to that too.
    void weigh(int64_t cells) {
        for (int at = 0; at < ROWS; at += LANES) {
            const Vector before = load(largest + at);
            Vector now = before;
            for (int64_t c = 0; c < cells; ++c) now = max(now, load(scores + c * ROWS + at));
            store(largest + at, now);
            const Vector base = now == HIDDEN ? Vector{} : now; // rows that saw nothing yet
            Vector sum{};
            for (int64_t c = 0; c < cells; ++c) {
                const Vector weight = exponential(load(scores + c * ROWS + at) - base);
                store(scores + c * ROWS + at, weight);
                sum += weight;
            }
            const Vector kept = exponential(before - base);
            store(total + at, load(total + at) * kept + sum);
            for (int64_t d = 0; d < work.width; ++d) store(sums + d * ROWS + at, load(sums + d * ROWS + at) * kept);
        }
    }

    const Attention & work;
    const int64_t step; // queries of a full block
    int64_t query, queries, kv_head;
    alignas(64) float rows[MAX_HEAD_WIDTH * ROWS], sums[MAX_HEAD_WIDTH * ROWS], scores[TILE * ROWS];
    alignas(64) float tile[TILE * MAX_HEAD_WIDTH], largest[ROWS], total[ROWS];
};

template <int ROWS> void attend_in(const Attention & work, int n_threads) {
    const int64_t group = work.heads / work.kv_heads, step = ROWS / group;
    const int64_t blocks = (work.queries + step - 1) / step, tiles = (work.cells + TILE - 1) / TILE;
    std::vector<View> views(static_cast<size_t>(blocks * tiles), all);
#pragma omp parallel num_threads(n_threads)
    {
        if (work.mask) {
#pragma omp for schedule(static)
            for (int64_t i = 0; i < blocks * tiles; ++i) {
                const int64_t query = i / tiles * step, cell = i % tiles * TILE;
                const int64_t queries = std::min(step, work.queries - query), cells = std::min(TILE, work.cells - cell);
                views[static_cast<size_t>(i)] = view(work, query, queries, cell, cells);
            }
        }
        const auto block = std::make_unique<Block<ROWS>>(work);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < blocks * work.kv_heads; ++i) {
            const int64_t number = i / work.kv_heads;
            block->begin(number * step, i % work.kv_heads);
            for (int64_t t = 0; t < tiles; ++t) {
                const View seen = views[static_cast<size_t>(number * tiles + t)];
                if (seen != none) {
                    block->add(t * TILE, std::min(TILE, work.cells - t * TILE), seen);
                }
            }
            block->finish();
        }
    }
}

} // namespace

void attend(const Attention & work, int n_threads) {
    const int64_t rows = work.queries * (work.heads / work.kv_heads);
    rows <= 16 ? attend_in<16>(work, n_threads) : attend_in<MOST_ROWS>(work, n_threads);
}

} // namespace qsift::QSIFT_LEVEL
