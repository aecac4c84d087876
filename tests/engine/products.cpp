// Products of all shapes at the edges of the tiles, LEVEL, against plain loops: to be run under sanitizers.
#include "exact.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>

using namespace qsift;

namespace {

Kernels chosen{};
std::mt19937 generator(1);

float random_number() { return std::normal_distribution<float>()(generator); }

// What the activations become, in plain loops.
void quantise(const float * row, int64_t k, int span, std::vector<float> & out) {
    for (int64_t first = 0; first < k; first += span) {
        float max = 0;
        for (int i = 0; i < span; ++i) max = std::fmax(max, std::fabs(row[first + i]));
        for (int i = 0; i < span; ++i) out[first + i] = max == 0 ? 0 : std::nearbyint(row[first + i] * (127 / max)) * (max / 127);
    }
}

bool is_right(const Format & format, int64_t n, int64_t k, int64_t m, int n_threads) {
    const int64_t blocks = k / BLOCK;
    std::vector<Block> weight(n * blocks);
    for (Block & block : weight) {
        for (int8_t & number : block.numbers) number = static_cast<int8_t>(static_cast<int>(generator() % 256) - 128);
        for (float & scale : block.scales) scale = random_number() / 100;
        block.min = format.mins ? random_number() : 0;
        if (format.scales == 1) {
            block.scales[1] = block.scales[0];
        }
    }
    std::vector<float> rows(m * k);
    for (float & number : rows) number = random_number();
    // Exactly as large as they must be, so that one number too far is seen.
    const size_t size = packed_size(panels(format, n, k, nullptr));
    std::unique_ptr<char, void (*)(void *)> packed(static_cast<char *>(std::aligned_alloc(64, size)), std::free);
    const Panels to = panels(format, n, k, packed.get());
    pack(to, [&](int64_t i, Block * out) { std::memcpy(out, &weight[i * blocks], sizeof(Block) * blocks); }, n_threads);
    std::vector<float> out(m * n, NAN), taken(k);
    ExactRunner runner;
    runner.take(format, rows.data(), sizeof(float) * k, m, k, n_threads);
    runner.add(to, out.data());
    runner.finish(n_threads);
    for (int64_t i = 0; i < m; ++i) {
        quantise(&rows[i * k], k, format.span, taken);
        for (int64_t j = 0; j < n; ++j) {
            double sum = 0, sizes = 0;
            for (int64_t c = 0; c < k; ++c) {
                const Block & block = weight[j * blocks + c / BLOCK];
                const double value = block.scales[c % BLOCK / 16] * block.numbers[c % BLOCK] - block.min;
                sum += value * taken[c];
                sizes += std::fabs(value * taken[c]);
            }
            if (!(std::fabs(out[i * n + j] - sum) <= 1e-3 * sizes)) { // the half precision of a scale
                std::printf("n %ld k %ld m %ld span %d: (%ld, %ld) is %g, not %g\n", n, k, m, format.span, i, j, out[i * n + j], sum);
                return false;
            }
        }
    }
    return true;
}

} // namespace

const Kernels & qsift::kernels() { return chosen; }

int main(int, char ** arguments) {
    if (std::strcmp(arguments[1], "avx512_vnni") == 0) {
        chosen.quantize_blocks = avx512_vnni::quantize_blocks, chosen.multiply_panels = avx512_vnni::multiply_panels;
    } else {
        chosen.quantize_blocks = avx2_vnni::quantize_blocks, chosen.multiply_panels = avx2_vnni::multiply_panels;
    }
    int count = 0;
    for (const Format & format : {Format{32, 1, false}, Format{256, 1, false}, Format{256, 1, true}, Format{256, 2, false}}) {
        for (const int64_t n : {1, 15, 16, 17, 33, 130, 200}) {
            for (const int64_t m : {1, 2, 3, 5, 6, 7, 11, 49}) {
                for (const int64_t k : {format.span, 3 * format.span}) {
                    if (!is_right(format, n, k, m, 1 + count % 2)) {
                        return 1;
                    }
                    ++count;
                }
            }
        }
    }
    std::printf("%d products are right\n", count);
}
