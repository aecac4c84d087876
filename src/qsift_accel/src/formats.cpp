#include "formats.h"

#define GGML_COMMON_DECL_C
#define GGML_COMMON_IMPL_C
#include "ggml-common.h"

#include <cstring>

namespace qsift {

namespace {

constexpr Format SMALL{QK8_0, 1, false}, LARGE{QK_K, 1, false}, SHIFTED{QK_K, 1, true}, HALVES{QK_K, 2, false};

// Half of the numbers lie in the lower four bits, half in the upper ones.
int nibble(const uint8_t * bytes, int i) { return i < BLOCK / 2 ? bytes[i] & 15 : bytes[i - BLOCK / 2] >> 4; }

template <typename Number> void fill(Block & block, float scale, float min, const Number & number) {
    for (int i = 0; i < BLOCK; ++i) block.numbers[i] = static_cast<int8_t>(number(i));
    block.scales[0] = block.scales[1] = scale;
    block.min = min;
}

// The scale and the minimum of a block among eight, six bits each in twelve bytes.
struct Pair {
    int scale, min;
};
Pair pair(const uint8_t * bytes, int b) {
    if (b < 4) {
        return {bytes[b] & 63, bytes[b + 4] & 63};
    }
    return {(bytes[b + 4] & 15) | (bytes[b - 4] >> 6 << 4), (bytes[b + 4] >> 4) | (bytes[b] >> 6 << 4)};
}

void unpack_one(const block_q8_0 & from, Block * to) {
    fill(*to, ggml_fp16_to_fp32(from.d), 0, [&](int i) { return from.qs[i]; });
}

void unpack_one(const block_q4_0 & from, Block * to) {
    fill(*to, ggml_fp16_to_fp32(from.d), 0, [&](int i) { return nibble(from.qs, i) - 8; });
}

void unpack_one(const block_iq4_nl & from, Block * to) {
    fill(*to, ggml_fp16_to_fp32(from.d), 0, [&](int i) { return kvalues_iq4nl[nibble(from.qs, i)]; });
}

void unpack_one(const block_iq4_xs & from, Block * to) {
    for (int b = 0; b < QK_K / BLOCK; ++b) {
        const int scale = (from.scales_l[b / 2] >> 4 * (b % 2) & 15) | (from.scales_h >> 2 * b & 3) << 4;
        const uint8_t * bytes = from.qs + b * BLOCK / 2;
        fill(to[b], ggml_fp16_to_fp32(from.d) * static_cast<float>(scale - 32), 0, [&](int i) { return kvalues_iq4nl[nibble(bytes, i)]; });
    }
}

// Two blocks share their bytes: the first has the lower four bits of each.
template <typename Superblock, typename High> void unpack_shifted(const Superblock & from, Block * to, const High & high) {
    for (int b = 0; b < QK_K / BLOCK; ++b) {
        const Pair factors = pair(from.scales, b);
        const uint8_t * bytes = from.qs + b / 2 * BLOCK;
        fill(to[b], ggml_fp16_to_fp32(from.d) * static_cast<float>(factors.scale), ggml_fp16_to_fp32(from.dmin) * static_cast<float>(factors.min),
             [&](int i) { return (bytes[i] >> 4 * (b % 2) & 15) + high(b, i); });
    }
}

void unpack_one(const block_q4_K & from, Block * to) {
    unpack_shifted(from, to, [](int, int) { return 0; });
}

void unpack_one(const block_q5_K & from, Block * to) {
    unpack_shifted(from, to, [&](int b, int i) { return from.qh[i] >> b & 1 ? 16 : 0; });
}

void unpack_one(const block_q6_K & from, Block * to) {
    for (int b = 0; b < QK_K / BLOCK; ++b) {
        const int half = b / 4, part = b % 4; // 128 numbers, and which 32 of them
        const uint8_t *low = from.ql + 64 * half + part % 2 * BLOCK, *high = from.qh + BLOCK * half;
        fill(to[b], 0, 0, [&](int i) { return ((low[i] >> 4 * (part / 2) & 15) | (high[i] >> 2 * part & 3) << 4) - 32; });
        for (int s = 0; s < 2; ++s) to[b].scales[s] = ggml_fp16_to_fp32(from.d) * from.scales[2 * b + s];
    }
}

template <typename Stored> void unpack_row(const void * row, int64_t k, int of_one, Block * blocks) {
    for (int64_t i = 0; i < k / of_one; ++i) unpack_one(static_cast<const Stored *>(row)[i], blocks + i * of_one / BLOCK);
}

void unpack(ggml_type type, const void * row, int64_t k, Block * blocks) {
    switch (type) {
        case GGML_TYPE_Q8_0: return unpack_row<block_q8_0>(row, k, QK8_0, blocks);
        case GGML_TYPE_Q4_0: return unpack_row<block_q4_0>(row, k, QK4_0, blocks);
        case GGML_TYPE_IQ4_NL: return unpack_row<block_iq4_nl>(row, k, QK4_NL, blocks);
        case GGML_TYPE_IQ4_XS: return unpack_row<block_iq4_xs>(row, k, QK_K, blocks);
        case GGML_TYPE_Q4_K: return unpack_row<block_q4_K>(row, k, QK_K, blocks);
        case GGML_TYPE_Q5_K: return unpack_row<block_q5_K>(row, k, QK_K, blocks);
        default: return unpack_row<block_q6_K>(row, k, QK_K, blocks);
    }
}

} // namespace

const Format * format_of(ggml_type type) {
    switch (type) {
        case GGML_TYPE_Q8_0: case GGML_TYPE_Q4_0: case GGML_TYPE_IQ4_NL: return &SMALL;
        case GGML_TYPE_IQ4_XS: return &LARGE;
        case GGML_TYPE_Q4_K: case GGML_TYPE_Q5_K: return &SHIFTED;
        case GGML_TYPE_Q6_K: return &HALVES;
        default: return nullptr;
    }
}

void pack(const Panels & panels, ggml_type type, const void * weight, int n_threads) {
    const size_t row_size = ggml_row_size(type, panels.k);
    const auto row = [&](int64_t n, Block * blocks) {
        unpack(type, static_cast<const char *>(weight) + row_size * static_cast<size_t>(n), panels.k, blocks);
    };
    pack(panels, row, n_threads);
}

} // namespace qsift
