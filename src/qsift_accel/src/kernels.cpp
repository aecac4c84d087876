#include "kernels.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <oneapi/dnnl/dnnl_types.h>

namespace qsift {

namespace {

#define QSIFT_TABLE(level) level::rotate, level::quantize, level::dequantize, level::to_bfloat16, level::normalize, level::attend
#define QSIFT_VNNI_TABLE(level) level::quantize_blocks, level::multiply_panels
#define QSIFT_HAS(feature) (__builtin_cpu_supports(feature) != 0)

struct Level {
    const char * name;
    bool is_there;
    dnnl_cpu_isa_t onednn; // what holds oneDNN to the same
    Kernels kernels;
};

const Level & level() {
    static const bool has_512 = QSIFT_HAS("avx512f") && QSIFT_HAS("avx512bw") && QSIFT_HAS("avx512dq") && QSIFT_HAS("avx512vl");
    static const char * const named = std::getenv("QSIFT_ACCEL_ISA");
    static const bool has_vnni = has_512 && QSIFT_HAS("avx512vnni"), has_bf16 = has_vnni && QSIFT_HAS("avx512bf16");
    static const Level levels[] = {
        // The best first.
        {"AMX", has_bf16 && QSIFT_HAS("amx-bf16") && amx_bf16::is_allowed(), dnnl_cpu_isa_default, {QSIFT_TABLE(avx512), amx_bf16::attend, QSIFT_VNNI_TABLE(avx512_vnni)}},
        {"AVX512_BF16", has_bf16, dnnl_cpu_isa_avx512_core_fp16, {QSIFT_TABLE(avx512), nullptr, QSIFT_VNNI_TABLE(avx512_vnni)}},
        {"AVX512_VNNI", has_vnni, dnnl_cpu_isa_avx512_core_vnni, {QSIFT_TABLE(avx512), nullptr, QSIFT_VNNI_TABLE(avx512_vnni)}},
        {"AVX2_VNNI", QSIFT_HAS("avxvnni"), dnnl_cpu_isa_avx2_vnni_2, {QSIFT_TABLE(avx2), nullptr, QSIFT_VNNI_TABLE(avx2_vnni)}},
        {"AVX512", has_512, dnnl_cpu_isa_avx512_core, {QSIFT_TABLE(avx512), nullptr, nullptr, nullptr}},
        {"AVX2", true, dnnl_cpu_isa_avx2, {QSIFT_TABLE(avx2), nullptr, nullptr, nullptr}},
    };
    static const Level & chosen = []() -> const Level & {
        const auto is_named = [](const Level & one) { return one.is_there && named && std::strcmp(one.name, named) == 0; };
        const Level * found = std::find_if(std::begin(levels), std::end(levels), is_named);
        const auto is_there = [](const Level & one) { return one.is_there; };
        return found != std::end(levels) ? *found : *std::find_if(std::begin(levels), std::end(levels), is_there);
    }();
    return chosen;
}

} // namespace

const Kernels & kernels() { return level().kernels; }
const char * kernels_name() { return level().name; }
int onednn_isa() { return level().onednn; }

int rotation_block(int64_t k) {
    int block = 1;
    while (block < 4096 && k % (2 * block) == 0) {
        block *= 2;
    }
    return block;
}

} // namespace qsift
