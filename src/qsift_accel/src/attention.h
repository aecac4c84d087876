// Attention in blocks, with the softmax computed as the cells go by (Milakov and Gimelshein 2018; Dao et al. 2022).
//
// Rows are a block's queries times the heads that share keys and values. They lie across the vectors, so scores are kept
// as (cells, rows) and sums as (width, rows): the softmax never leaves its lane. What the two products are computed in is
// given. Tiles that the mask hides from a whole block are skipped, which is most of a cache that many sequences share.
#pragma once

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

// What the blocks of a thread share: a tile's keys and values, as Products has them, and memory for what they compute.
template <typename Products> struct Shared : Products {
    alignas(64) float rows[Products::ROWS * MAX_HEAD_WIDTH], scores[Products::TILE * Products::ROWS];
};

// One block's queries and sums. Row h * step + i is the block's query i in the h-th of the heads that share keys and values.
template <typename Products> class Block {
    static constexpr int ROWS = Products::ROWS, TILE = Products::TILE;

public:
    void begin(const Attention & its_work, int64_t first_query, int64_t head, Shared<Products> & shared) {
        work = &its_work, step = ROWS / (work->heads / work->kv_heads);
        query = first_query, queries = std::min(step, work->queries - first_query), kv_head = head;
        float * rows = shared.rows;
        const int64_t width = work->width;
        std::fill(rows, rows + ROWS * width, 0.0f);
        for_each_row([&](int64_t row, int64_t q, int64_t h) {
            const char * place = work->q.data + work->q.row * static_cast<size_t>(q) + work->q.head * static_cast<size_t>(h);
            std::memcpy(rows + row * width, place, sizeof(float) * static_cast<size_t>(width));
        });
        for (int64_t i = 0; i < ROWS * width; ++i) rows[i] *= work->scale;
        shared.turn_queries(rows, turned);
        std::fill(sums, sums + ROWS * width, 0.0f);
        std::fill(std::begin(total), std::end(total), 0.0f);
        std::fill(std::begin(largest), std::end(largest), HIDDEN);
    }

    // Adds the tile of cells that was read last.
    void add(int64_t cell, int64_t cells, View view, Shared<Products> & shared) {
        shared.score(turned, cells, shared.scores);
        if (view == some) {
            hide(cell, cells, shared.scores);
        }
        weigh(cells, shared.scores);
        shared.add(shared.scores, cells, sums);
    }

    void finish(Shared<Products> & shared) {
        const int64_t width = work->width;
        transpose(sums, ROWS, shared.rows, width, width, ROWS);
        for_each_row([&](int64_t row, int64_t q, int64_t h) {
            float * out = work->out + (q * work->heads + h) * width;
            const float share = total[row] == 0 ? 0 : 1 / total[row];
            for (int64_t d = 0; d < width; ++d) out[d] = shared.rows[row * width + d] * share;
        });
    }

private:
    template <typename Work> void for_each_row(const Work & with) const {
        const int64_t group = work->heads / work->kv_heads;
        for (int64_t h = 0; h < group; ++h) {
            for (int64_t i = 0; i < queries; ++i) with(h * step + i, query + i, kv_head * group + h);
        }
    }

    void hide(int64_t cell, int64_t cells, float * scores) const {
        alignas(64) float added[MOST_ROWS * TILE] = {}, turned_added[TILE * MOST_ROWS]; // (queries, cells), (cells, queries)
        for (int64_t i = 0; i < queries; ++i) {
            const char * row = work->mask + work->mask_row * static_cast<size_t>(query + i) + 2 * cell;
            for (int64_t c = 0; c < cells; ++c) {
                uint16_t bits;
                std::memcpy(&bits, row + 2 * c, 2);
                added[i * TILE + c] = _cvtsh_ss(bits);
            }
        }
        transpose(added, TILE, turned_added, MOST_ROWS, (queries + 7) / 8 * 8, TILE);
        for (int64_t c = 0; c < cells; ++c) {
            for (int64_t first = 0; first + step <= ROWS; first += step) {
                for (int64_t i = 0; i < queries; ++i) scores[c * ROWS + first + i] += turned_added[c * MOST_ROWS + i];
            }
        }
    }

    // Scores become weights, relative to the largest score so far; what was summed before is brought to that too.
    void weigh(int64_t cells, float * scores) {
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
            if (std::memcmp(&now, &before, sizeof now) != 0) {
                const Vector kept = exponential(before - base);
                store(total + at, load(total + at) * kept);
                for (int64_t d = 0; d < work->width; ++d) store(sums + d * ROWS + at, load(sums + d * ROWS + at) * kept);
            }
            store(total + at, load(total + at) + sum);
        }
    }

    const Attention * work;
    int64_t step; // queries of a full block
    int64_t query, queries, kv_head;
    typename Products::Queries turned;
    alignas(64) float sums[MAX_HEAD_WIDTH * ROWS], largest[ROWS], total[ROWS];
};

// A thread takes some blocks at a time whose heads are the same, so that a tile is read once for all of them.
template <typename Products> void attend_with(const Attention & work, int n_threads) {
    constexpr int64_t TILE = Products::TILE, MOST_BLOCKS = 16;
    const int64_t step = Products::ROWS / (work.heads / work.kv_heads);
    const int64_t blocks = (work.queries + step - 1) / step, tiles = (work.cells + TILE - 1) / TILE;
    const int64_t most = std::clamp<int64_t>(blocks * work.kv_heads / (4 * n_threads), 1, MOST_BLOCKS);
    const int64_t runs = (blocks + most - 1) / most;
    std::vector<View> views(static_cast<size_t>(blocks * tiles), all);
    const auto at = [&](const Heads & from, int64_t cell, int64_t head) {
        return Heads{from.data + from.row * static_cast<size_t>(cell) + from.head * static_cast<size_t>(head), from.row, 0};
    };
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
        const typename Products::Thread thread;
        const auto shared = std::make_unique<Shared<Products>>();
        const auto block = std::make_unique<Block<Products>[]>(static_cast<size_t>(most));
        shared->width = work.width;
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < runs * work.kv_heads; ++i) {
            const int64_t first = i / work.kv_heads * most, head = i % work.kv_heads, count = std::min(most, blocks - first);
            for (int64_t b = 0; b < count; ++b) block[b].begin(work, (first + b) * step, head, *shared);
            for (int64_t t = 0; t < tiles; ++t) {
                const int64_t cell = t * TILE, cells = std::min(TILE, work.cells - cell);
                bool is_read = false;
                for (int64_t b = 0; b < count; ++b) {
                    const View seen = views[static_cast<size_t>((first + b) * tiles + t)];
                    if (seen == none) {
                        continue;
                    }
                    if (!is_read) {
                        shared->read(at(work.k, cell, head), at(work.v, cell, head), cells);
                        is_read = true;
                    }
                    block[b].add(cell, cells, seen, *shared);
                }
            }
            for (int64_t b = 0; b < count; ++b) block[b].finish(*shared);
        }
    }
}

// Few rows go in small blocks.
template <template <int> class Products> void attend_in(const Attention & work, int n_threads) {
    const int64_t rows = work.queries * (work.heads / work.kv_heads);
    rows <= 16 ? attend_with<Products<16>>(work, n_threads) : attend_with<Products<MOST_ROWS>>(work, n_threads);
}

} // namespace

} // namespace qsift::QSIFT_LEVEL
