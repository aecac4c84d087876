#include "rotation.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#if defined(__GNUC__) && defined(__x86_64__)
// One copy for each instruction set; the loader picks.
#define FOR_EACH_CPU __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FOR_EACH_CPU
#endif

namespace qsift {

int rotation_block(int64_t k) {
    int block = 1;
    while (block < 4096 && k % (2 * block) == 0) {
        block *= 2;
    }
    return block;
}

FOR_EACH_CPU void rotate(float * row, int64_t k, int block) {
    const float norm = 1.0f / std::sqrt(static_cast<float>(block));
    for (float * x = row; x < row + k; x += block) {
        int half = 1;
        // Steps within 16 neighbours, on a copy that stays in registers.
        for (int i = 0; block >= 16 && i < block; i += 16) {
            float a[16], b[16];
            for (int j = 0; j < 16; ++j) a[j] = x[i + j] * norm;
            for (int j = 0; j < 16; ++j) b[j] = (j & 1 ? -a[j] : a[j]) + a[j ^ 1];
            for (int j = 0; j < 16; ++j) a[j] = (j & 2 ? -b[j] : b[j]) + b[j ^ 2];
            for (int j = 0; j < 16; ++j) b[j] = (j & 4 ? -a[j] : a[j]) + a[j ^ 4];
            for (int j = 0; j < 16; ++j) a[j] = (j & 8 ? -b[j] : b[j]) + b[j ^ 8];
            for (int j = 0; j < 16; ++j) x[i + j] = a[j];
            half = 16;
        }
        for (int j = 0; half == 1 && j < block; ++j) x[j] *= norm;
        for (; half < block; half *= 2) {
            for (int i = 0; i < block; i += 2 * half) {
                float * low = x + i;
                float * high = x + i + half;
                for (int j = 0; j < half; ++j) {
                    const float sum = low[j] + high[j], difference = low[j] - high[j];
                    low[j] = sum;
                    high[j] = difference;
                }
            }
        }
    }
}

FOR_EACH_CPU float quantize(const float * row, int8_t * out, int64_t k) {
    // As integers: positive floats are ordered as their bits are, and NaN is larger than all.
    uint32_t largest = 0;
    for (int64_t i = 0; i < k; ++i) {
        uint32_t bits;
        std::memcpy(&bits, row + i, 4);
        largest = std::max(largest, bits & 0x7fffffffu);
    }
    float max;
    std::memcpy(&max, &largest, 4);
    if (largest >= 0x7f800000u || largest == 0) {
        std::memset(out, 0, static_cast<size_t>(k));
        return largest == 0 ? 0.0f : std::numeric_limits<float>::quiet_NaN();
    }
    const float inverse = 127.0f / max;
    if (!std::isfinite(inverse)) { // a row of nothing but denormal numbers
        std::memset(out, 0, static_cast<size_t>(k));
        return 0.0f;
    }
    constexpr float round = 12582912.0f; // 1.5 * 2^23: adding it leaves the nearest whole number in the low bits
    for (int64_t i = 0; i < k; ++i) {
        const float shifted = row[i] * inverse + round;
        int32_t bits;
        std::memcpy(&bits, &shifted, 4);
        out[i] = static_cast<int8_t>(bits);
    }
    return max / 127.0f;
}

FOR_EACH_CPU void dequantize(void * row, int64_t n, float row_scale, const float * column_scales) {
    char * bytes = static_cast<char *>(row);
    for (int64_t i = 0; i < n; ++i) {
        int32_t sum;
        std::memcpy(&sum, bytes + 4 * i, 4);
        const float value = static_cast<float>(sum) * (row_scale * column_scales[i]);
        std::memcpy(bytes + 4 * i, &value, 4);
    }
}

FOR_EACH_CPU void to_bfloat16(const float * row, uint16_t * out, int64_t k) {
    for (int64_t i = 0; i < k; ++i) {
        uint32_t bits;
        std::memcpy(&bits, row + i, 4);
        const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
        const uint32_t quiet = (bits >> 16) | 0x40u;
        out[i] = static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
    }
}

} // namespace qsift
