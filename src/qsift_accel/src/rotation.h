// Rows of numbers: rotated, quantised, converted. Plain loops that the compiler vectorises for each instruction set.
#pragma once

#include <cstdint>

namespace qsift {

// The largest power of two that divides k, at most 4096: the length of the blocks that are rotated.
int rotation_block(int64_t k);

// Multiplies each block of the row with the Hadamard matrix over the root of its size, in place. The matrix is
// orthogonal and its own inverse, so a product of two rows that are both rotated is the product of the rows;
// but an outlier in one channel is spread over its whole block, and eight bits suffice for what remains.
void rotate(float * row, int64_t k, int block);

// Writes the row as round(x / scale) with scale = max|x| / 127, and returns the scale. A row that holds NaN or Inf
// gets the scale NaN: what is computed with it is NaN too, and is not silently wrong.
float quantize(const float * row, int8_t * out, int64_t k);

// Turns n sums of products of two quantised rows into numbers, in place: int32 becomes float32.
void dequantize(void * row, int64_t n, float row_scale, const float * column_scales);

// Rounds to bfloat16, to nearest even; NaN stays NaN.
void to_bfloat16(const float * row, uint16_t * out, int64_t k);

} // namespace qsift
