// The loops that are not oneDNN's, compiled once for each instruction set; kernels() picks.
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

constexpr int BLOCK = 32;  // columns of a weight with a scale of their own
constexpr int PANEL = 16;  // rows of a weight that lie beside each other
constexpr int ZERO = 128;  // what a packed number is too large by

// A packed weight: panel after panel, and in a panel block after block: for each four columns those of all rows, a byte
// each; then the rows' scales, float32; then, where there are some, what is subtracted from the rows' values.
struct Panels {
    char * data;
    int64_t n, k; // rows and columns
    int scales;   // of a row's block: one, or one for each half
    bool mins;

    size_t block_size() const { return BLOCK * PANEL + sizeof(float) * PANEL * static_cast<size_t>(scales + mins); }
    size_t panel_size() const { return block_size() * static_cast<size_t>(k / BLOCK); }
};

// m quantised rows of k numbers: each is scale * number, with a scale for each block.
struct Activations {
    int8_t * numbers; // row bytes from one to the next
    size_t row;
    int64_t m, k;
    float * scales;   // (m, k / 32)
    float * sums;     // (m, k / 32): of a block's values
    int32_t * starts; // (m, k / 32, parts): -128 times the sum of a part's numbers
    int parts;        // of a block: as many as the weight has scales
};

struct Product {
    Panels weight;
    float * out; // (m, n)
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

// Those that need VNNI's instruction.
#define QSIFT_VNNI_KERNELS(level)                                                                                        \
    namespace level {                                                                                                    \
    void quantize_blocks(const float * row, int64_t number, int span, const Activations & taken);                        \
    void multiply_panels(const Product * products, int count, const Activations & taken, int n_threads);                 \
    }
QSIFT_VNNI_KERNELS(avx2_vnni)
QSIFT_VNNI_KERNELS(avx512_vnni)

// Those that need AMX's bfloat16.
namespace amx_bf16 {
bool is_allowed(); // asks the system to let this process use AMX
void attend(const Attention & work, int n_threads);
}

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

    // The same with both products in bfloat16, of a width that is a multiple of 32; null where the CPU has no AMX.
    void (*attend_bf16)(const Attention & work, int n_threads);

    // The two are null where the CPU has no VNNI.
    //
    // Quantises a row as ggml does for weights whose blocks have 32 columns (span 32) or 256 (span 256). A span that
    // holds NaN or Inf gets the scale NaN.
    void (*quantize_blocks)(const float * row, int64_t number, int span, const Activations & taken);

    // Computes the products of the activations with each of the weights.
    void (*multiply_panels)(const Product * products, int count, const Activations & taken, int n_threads);
};

// Those of the best instruction set that the CPU has, or of the one that $QSIFT_ACCEL_ISA names where the CPU has it.
const Kernels & kernels();
const char * kernels_name();
int onednn_isa(); // the same instruction set as a dnnl_cpu_isa_t

// What attend() takes at most: a head's width, which must be a multiple of 16 too, and heads that share keys and values.
constexpr int64_t MAX_HEAD_WIDTH = 256, MAX_GROUP = 16;

// The largest power of two that divides k, at most 4096: the length of the blocks that are rotated.
int rotation_block(int64_t k);

} // namespace qsift
