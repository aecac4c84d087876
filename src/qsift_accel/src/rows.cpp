// Rows of numbers: rotated, quantised, converted. Plain loops that the compiler vectorises; QSIFT_LEVEL is the
// instruction set that this copy is compiled for.
#include "kernels.h"
#include "vector.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace qsift::QSIFT_LEVEL {

namespace {

// The neighbours that step DISTANCE brings together, and which of them is subtracted.
template <int DISTANCE> Vector butterfly(Vector x) {
    Integers partner;
    Vector sign;
    for (int i = 0; i < LANES; ++i) {
        partner[i] = i ^ DISTANCE;
        sign[i] = i & DISTANCE ? -1.0f : 1.0f;
    }
    return x * sign + __builtin_shuffle(x, partner);
}

Vector rotate_lanes(Vector x) {
    x = butterfly<4>(butterfly<2>(butterfly<1>(x)));
    return LANES == 16 ? butterfly<LANES / 2>(x) : x;
}

// The steps from half on, in plain loops.
void rotate_from(float * x, int half, int block) {
    // Two at a time: what is read and written once takes part in both.
    for (; 2 * half < block; half *= 4) {
        for (int i = 0; i < block; i += 4 * half) {
            float *p = x + i, *q = p + half, *r = q + half, *s = r + half;
            for (int j = 0; j < half; ++j) {
                const float a = p[j] + q[j], b = p[j] - q[j], c = r[j] + s[j], d = r[j] - s[j];
                p[j] = a + c, q[j] = b + d, r[j] = a - c, s[j] = b - d;
            }
        }
    }
    for (int j = 0; half < block && j < half; ++j) {
        const float sum = x[j] + x[j + half], difference = x[j] - x[j + half];
        x[j] = sum, x[j + half] = difference;
    }
}

} // namespace

void rotate(float * row, int64_t k, int block) {
    const float norm = 1.0f / std::sqrt(static_cast<float>(block));
    constexpr int AT_ONCE = 4 * LANES; // four that do not wait for each other
    for (float * x = row; x < row + k; x += block) {
        if (block < AT_ONCE) {
            for (int i = 0; i < block; ++i) x[i] *= norm;
            rotate_from(x, 1, block);
            continue;
        }
        for (int i = 0; i < block; i += AT_ONCE) {
            Vector four[4];
            for (int j = 0; j < 4; ++j) four[j] = load(x + i + j * LANES) * norm;
            for (int j = 0; j < 4; ++j) four[j] = rotate_lanes(four[j]);
            const Vector a = four[0] + four[1], b = four[0] - four[1], c = four[2] + four[3], d = four[2] - four[3];
            store(x + i, a + c), store(x + i + LANES, b + d);
            store(x + i + 2 * LANES, a - c), store(x + i + 3 * LANES, b - d);
        }
        rotate_from(x, AT_ONCE, block);
    }
}

float quantize(const float * row, void * out, int64_t k, int zero) {
    const uint32_t largest = largest_bits(row, k);
    float max;
    std::memcpy(&max, &largest, 4);
    const float inverse = 127.0f / max;
    if (largest >= INFINITE || !std::isfinite(inverse)) { // or a row of nothing but zeros and denormal numbers
        std::memset(out, zero, static_cast<size_t>(k));
        return largest >= INFINITE ? std::numeric_limits<float>::quiet_NaN() : 0.0f;
    }
    uint8_t * bytes = static_cast<uint8_t *>(out);
    for (int64_t i = 0; i < k; ++i) bytes[i] = static_cast<uint8_t>(nearest(row[i] * inverse) + zero);
    return max / 127.0f;
}

void dequantize(void * row, int64_t n, float row_scale, const float * column_scales, const int32_t * column_zeros) {
    char * bytes = static_cast<char *>(row);
    for (int64_t i = 0; i < n; ++i) {
        int32_t sum;
        std::memcpy(&sum, bytes + 4 * i, 4);
        const float value = static_cast<float>(sum - column_zeros[i]) * (row_scale * column_scales[i]);
        std::memcpy(bytes + 4 * i, &value, 4);
    }
}

void to_bfloat16(const float * row, uint16_t * out, int64_t k) {
    for (int64_t i = 0; i < k; ++i) {
        uint32_t bits;
        std::memcpy(&bits, row + i, 4);
        const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
        const uint32_t quiet = (bits >> 16) | 0x40u;
        out[i] = static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
    }
}

void normalize(const float * row, const float * weights, float * out, int64_t n, float epsilon) {
    float sums[2 * LANES] = {}; // beside each other, since the compiler keeps the order of a sum
    int64_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        for (int j = 0; j < 2 * LANES; ++j) sums[j] += row[i + j] * row[i + j];
    }
    double total = 0;
    for (; i < n; ++i) total += row[i] * row[i];
    for (const float sum : sums) total += sum;
    const float factor = 1.0f / std::sqrt(static_cast<float>(total / static_cast<double>(n)) + epsilon);
    for (i = 0; i < n; ++i) out[i] = row[i] * factor * (weights ? weights[i] : 1.0f);
}

} // namespace qsift::QSIFT_LEVEL
