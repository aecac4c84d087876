// The widest vector of float32 of the instruction set that a source is compiled for.
#pragma once

#include <cstdint>
#include <cstring>
#include <immintrin.h>

namespace qsift::QSIFT_LEVEL {

#ifdef __AVX512F__
constexpr int LANES = 16;
#else
constexpr int LANES = 8;
#endif

typedef float Vector __attribute__((vector_size(4 * LANES)));
typedef int32_t Integers __attribute__((vector_size(4 * LANES)));

inline Vector load(const float * from) {
    Vector vector;
    std::memcpy(&vector, from, sizeof vector);
    return vector;
}

inline void store(float * to, Vector vector) { std::memcpy(to, &vector, sizeof vector); }

inline Integers load_integers(const char * from) {
    Integers vector;
    std::memcpy(&vector, from, sizeof vector);
    return vector;
}

inline Vector to_float(Integers whole) { return __builtin_convertvector(whole, Vector); }

#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
// Adds to each sum its four products of an unsigned byte and a signed one.
inline Integers add_products(Integers sum, Integers bytes, Integers others) {
#ifdef __AVX512F__
    return Integers(_mm512_dpbusd_epi32(__m512i(sum), __m512i(bytes), __m512i(others)));
#else
    return Integers(_mm256_dpbusd_avx_epi32(__m256i(sum), __m256i(bytes), __m256i(others)));
#endif
}
#endif

// The largest |x| of a row, as its bits: positive floats are ordered as those are, and NaN is larger than all.
inline uint32_t largest_bits(const float * row, int64_t n) {
    uint32_t largest = 0;
    for (int64_t i = 0; i < n; ++i) {
        uint32_t bits;
        std::memcpy(&bits, row + i, 4);
        bits &= 0x7fffffffu;
        largest = bits > largest ? bits : largest;
    }
    return largest;
}

constexpr uint32_t INFINITE = 0x7f800000; // the bits of Inf, the least of those that are not finite

// The nearest whole number, to even, of |x| <= 2^22: adding 1.5 * 2^23 leaves it in the low bits.
inline int32_t nearest(float x) {
    const float shifted = x + 12582912.0f;
    int32_t bits;
    std::memcpy(&bits, &shifted, 4);
    return bits - 0x4b400000;
}

// Reads LANES float16.
inline Vector load_half(const char * from) {
#ifdef __AVX512F__
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(from)));
#else
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(from)));
#endif
}

} // namespace qsift::QSIFT_LEVEL
