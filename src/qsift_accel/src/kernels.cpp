#include "kernels.h"

#include <oneapi/dnnl/dnnl.hpp>

namespace qsift {

#define QSIFT_TABLE(level) {level::rotate, level::quantize, level::dequantize, level::to_bfloat16, level::normalize, level::attend}

const Kernels & kernels() {
    static constexpr Kernels narrow = QSIFT_TABLE(avx2), wide = QSIFT_TABLE(avx512);
    // The sets are numbered so that a larger one has the bits of the smaller ones.
    constexpr auto least = static_cast<unsigned>(dnnl::cpu_isa::avx512_core);
    static const bool is_wide = (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & least) == least;
    return is_wide ? wide : narrow;
}

int rotation_block(int64_t k) {
    int block = 1;
    while (block < 4096 && k % (2 * block) == 0) {
        block *= 2;
    }
    return block;
}

} // namespace qsift
