// Attention with both products in bfloat16, summed in float32, by AMX.
//
// The instructions multiply pairs of numbers that follow each other in what is summed over, so a pair is one number of 32
// bits here, and matrices of pairs are transposed as those of float32 are.
#include "attention.h"

#include <sys/syscall.h>
#include <unistd.h>

namespace qsift::QSIFT_LEVEL {

namespace {

// A number of 32 bits for each lane: the lower half from one, the upper half from the other.
__m512i pairs(__m512 lower, __m512 upper) {
    const __m512i low = _mm512_cvtepu16_epi32(__m256i(_mm512_cvtneps_pbh(lower)));
    const __m512i high = _mm512_cvtepu16_epi32(__m256i(_mm512_cvtneps_pbh(upper)));
    return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

struct alignas(64) TileShapes {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

// Makes all tiles of this thread 16 rows of 64 bytes until the end of the block; oneDNN keeps its own shapes in between.
class Tiles {
public:
    Tiles() {
        asm volatile("sttilecfg %0" : "=m"(before));
        TileShapes shapes = {};
        shapes.palette = 1;
        for (int i = 0; i < 8; ++i) shapes.row_bytes[i] = 64, shapes.rows[i] = 16;
        configure(shapes);
    }
    ~Tiles() { configure(before); }

private:
    // Some compilers do not see that the instruction reads its memory.
    static void configure(const TileShapes & shapes) { asm volatile("ldtilecfg %0" : : "m"(shapes)); }

    TileShapes before;
};

// The compiler's own functions do not tell it that they read and write memory.
template <int TILE> void load_tile(const void * from, int64_t row) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(row), "i"(TILE) : "memory");
}

template <int TILE> void store_tile(void * to, int64_t row) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(row), "i"(TILE) : "memory");
}

template <int TILE> void clear_tile() { asm volatile("tilezero %%tmm%c0" : : "i"(TILE)); }

template <int SUM, int LEFT, int RIGHT> void multiply_tile() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(SUM), "i"(LEFT), "i"(RIGHT));
}

// 32 rows of c and 16 * WIDE of its columns, as multiply() has it.
template <int ROWS, int WIDE, bool AFRESH>
void multiply_tiles(const uint32_t * a, int64_t row, const uint32_t * b, float * c, int64_t n) {
    constexpr int64_t ROW = sizeof(float) * ROWS;
    float * const below = c + 16 * ROWS;
    if constexpr (AFRESH) {
        clear_tile<0>(), clear_tile<1>(), clear_tile<2>(), clear_tile<3>();
    } else {
        load_tile<0>(c, ROW), load_tile<1>(below, ROW);
        if constexpr (WIDE == 2) load_tile<2>(c + 16, ROW), load_tile<3>(below + 16, ROW);
    }
    for (int64_t j = 0; j < n; j += 16) {
        load_tile<4>(a + j, 4 * row), load_tile<5>(a + 16 * row + j, 4 * row);
        load_tile<6>(b + j * ROWS, ROW);
        multiply_tile<0, 4, 6>(), multiply_tile<1, 5, 6>();
        if constexpr (WIDE == 2) {
            load_tile<7>(b + j * ROWS + 16, ROW);
            multiply_tile<2, 4, 7>(), multiply_tile<3, 5, 7>();
        }
    }
    store_tile<0>(c, ROW), store_tile<1>(below, ROW);
    if constexpr (WIDE == 2) store_tile<2>(c + 16, ROW), store_tile<3>(below + 16, ROW);
}

// c (m, ROWS) = a (m, n) × b (n, ROWS) where AFRESH, else c += that; n counts pairs. m is a multiple of 32, n of 16, and from
// one row of a to the next it is row pairs.
template <int ROWS, bool AFRESH>
void multiply(const uint32_t * a, int64_t row, const uint32_t * b, float * c, int64_t m, int64_t n) {
    constexpr int WIDE = std::min(2, ROWS / 16);
    for (int64_t i = 0; i < m; i += 32) {
        for (int column = 0; column < ROWS; column += 16 * WIDE) {
            multiply_tiles<ROWS, WIDE, AFRESH>(a + i * row, row, b + column, c + i * ROWS + column, n);
        }
    }
}

template <int SIZE> struct BFloat16 {
    static constexpr int ROWS = SIZE, TILE = 64;
    typedef uint32_t Queries[MAX_HEAD_WIDTH / 2 * ROWS] __attribute__((aligned(64))); // (width / 2, ROWS)
    using Thread = Tiles;

    void turn_queries(const float * rows, Queries & out) {
        for (int64_t i = 0; i < ROWS * width; i += 32) keep(_mm512_load_ps(rows + i), _mm512_load_ps(rows + i + 16), scratch + i / 2);
        turn(scratch, width / 2, out, ROWS, ROWS, width / 2);
    }

    void read(const Heads & its_keys, const Heads & its_values, int64_t cells) {
        for (int64_t c = 0; c < cells; ++c) {
            const char * from = its_keys.data + its_keys.row * static_cast<size_t>(c);
            for (int64_t d = 0; d < width; d += 32) keep(load_half(from + 2 * d), load_half(from + 2 * d + 32), keys + (c * width + d) / 2);
        }
        const int64_t n = padded(cells) / 2; // pairs
        const auto value = [&](int64_t cell, int64_t d) {
            return cell < cells ? __m512(load_half(its_values.data + its_values.row * static_cast<size_t>(cell) + 2 * d)) : __m512{};
        };
        for (int64_t c = 0; c < n; ++c) {
            for (int64_t d = 0; d < width; d += 16) _mm512_store_si512(scratch + c * width + d, pairs(value(2 * c, d), value(2 * c + 1, d)));
        }
        turn(scratch, width, values, n, n, width);
    }

    void score(const Queries & queries, int64_t cells, float * scores) const {
        multiply<ROWS, true>(keys, width / 2, queries, scores, padded(cells), width / 2);
    }

    void add(const float * weights, int64_t cells, float * sums) {
        const int64_t n = padded(cells) / 2;
        const auto weight = [&](int64_t cell, int64_t r) { return cell < cells ? _mm512_load_ps(weights + cell * ROWS + r) : __m512{}; };
        for (int64_t c = 0; c < n; ++c) {
            for (int64_t r = 0; r < ROWS; r += 16) _mm512_store_si512(scratch + c * ROWS + r, pairs(weight(2 * c, r), weight(2 * c + 1, r)));
        }
        multiply<ROWS, false>(values, n, scratch, sums, width, n);
    }

    static int64_t padded(int64_t cells) { return (cells + 31) / 32 * 32; }

    // Writes 32 numbers that follow each other.
    static void keep(__m512 first, __m512 second, uint32_t * to) { _mm512_store_si512(to, __m512i(_mm512_cvtne2ps_pbh(second, first))); }

    // Writes from (n, m) as to (m, n).
    static void turn(const uint32_t * from, int64_t from_row, uint32_t * to, int64_t to_row, int64_t n, int64_t m) {
        transpose(reinterpret_cast<const float *>(from), from_row, reinterpret_cast<float *>(to), to_row, n, m);
    }

    int64_t width;
    alignas(64) uint32_t keys[MAX_HEAD_WIDTH / 2 * TILE];   // (cells, width / 2)
    alignas(64) uint32_t values[MAX_HEAD_WIDTH / 2 * TILE]; // (width, cells / 2)
    alignas(64) uint32_t scratch[MAX_HEAD_WIDTH / 2 * std::max(ROWS, TILE)];
};

} // namespace

bool is_allowed() {
    constexpr int ask_for = 0x1023, tile_data = 18; // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, ask_for, tile_data) == 0;
}

void attend(const Attention & work, int n_threads) { attend_in<BFloat16>(work, n_threads); }

} // namespace qsift::QSIFT_LEVEL
