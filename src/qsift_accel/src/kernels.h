// The loops that are not oneDNN's, compiled once for each instruction set; kernels() picks as oneDNN picks for itself.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qsift {

// A matrix of rows for each head: bytes from row to row and from head to head.
struct Heads {
    const char * data;
    size_t row, head;
};

// Attention of queries over a cache that several sequences share, as ggml's FLASH_ATTN_EXT has it.
struct Attention {
    Heads q;            // float32, heads
    Heads k, v;         // float16, kv_heads; each serves heads / kv_heads heads in a row
    const char * mask;  // float16, a row of mask_row bytes for each query: what is added to its scores, -inf hides a cell
    size_t mask_row;
    float * out;        // float32 (queries, heads, width)
    int64_t queries, cells, heads, kv_heads, width;
    float scale;
};

// A namespace for each instruction set. Sources that define them are compiled once for each.
#define QSIFT_KERNELS(level)                                                                                             \
    namespace level {                                                                                                    \
    void rotate(float * row, int64_t k, int block);                                                                      \
    float quantize(const float * row, void * out, int64_t k, int zero);                                                  \
    void dequantize(void * row, int64_t n, float row_scale, const float * column_scales, const int32_t * column_zeros);  \
    void to_bfloat16(const float * row, uint16_t * out, int64_t k);                                                      \
    void normalize(const float * row, const float * weights, float * out, int64_t n, float epsilon);                     \
    void attend(const Attention & work, int n_threads);                                                                  \
    }
QSIFT_KERNELS(avx2)
QSIFT_KERNELS(avx512)

struct Kernels {
    // Multiplies each block of the row with the Hadamard matrix over the root of its size, in place. The matrix is
    // orthogonal and its own inverse, so a product of two rows that are both rotated is the product of the rows;
    // but an outlier in one channel is spread over its whole block, and eight bits suffice for what remains.
    void (*rotate)(float * row, int64_t k, int block);

    // Writes the row as round(x / scale) + zero in a byte each, with scale = max|x| / 127, and returns the scale. A row
    // that holds NaN or Inf gets the scale NaN: what is computed with it is NaN too, and is not silently wrong.
    float (*quantize)(const float * row, void * out, int64_t k, int zero);

    // Turns n sums of products of two quantised rows into numbers, in place: int32 becomes float32.
    void (*dequantize)(void * row, int64_t n, float row_scale, const float * column_scales, const int32_t * column_zeros);

    // Rounds to bfloat16, to nearest even; NaN stays NaN.
    void (*to_bfloat16)(const float * row, uint16_t * out, int64_t k);

    // Writes the row over the root of its mean square, times the weights; null stands for ones.
    void (*normalize)(const float * row, const float * weights, float * out, int64_t n, float epsilon);

    // Computes the attention; all sums in float32. A query that sees no cell gets zeros.
    void (*attend)(const Attention & work, int n_threads);
};

// Those of the instruction set that oneDNN uses.
const Kernels & kernels();

// What attend() takes at most: a head's width, which must be a multiple of 16 too, and heads that share keys and values.
constexpr int64_t MAX_HEAD_WIDTH = 256, MAX_GROUP = 16;

// The largest power of two that divides k, at most 4096: the length of the blocks that are rotated.
int rotation_block(int64_t k);

} // namespace qsift
