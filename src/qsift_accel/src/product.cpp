#include "product.h"

#include "kernels.h"

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <new>
#include <numeric>
#include <omp.h>

namespace qsift {

using dnnl::memory;
using Tag = memory::format_tag;
using Type = memory::data_type;

namespace {

constexpr int64_t LAYOUT_FOR = 512; // rows that the layout is chosen for: those of a usual decode call
constexpr size_t MOST_PREPARED = 512;

dnnl::engine & engine() {
    static dnnl::engine the_engine(dnnl::engine::kind::cpu, 0);
    return the_engine;
}

// Weights are signed; activations are not, because the CPUs' instructions take one of each.
Type weight_type(Mode mode) { return mode == Mode::int8 ? Type::s8 : Type::bf16; }
Type activation_type(Mode mode) { return mode == Mode::int8 ? Type::u8 : Type::bf16; }
size_t bytes_of(Mode mode) { return mode == Mode::int8 ? 1 : 2; }

dnnl::matmul::primitive_desc describe(Mode mode, int64_t m, int64_t n, int64_t k, const memory::desc & weights) {
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    // int8 sums are exact in int32; their scales are applied afterwards, since oneDNN has none for single rows.
    const Type out = mode == Mode::int8 ? Type::s32 : Type::f32;
    return dnnl::matmul::primitive_desc(engine(), {{m, k}, activation_type(mode), Tag::ab}, weights, {{m, n}, out, Tag::ab}, attributes);
}

std::unique_ptr<void, void (*)(void *)> allocate(size_t size) {
    void * memory = std::aligned_alloc(64, (size + 63) / 64 * 64);
    if (!memory) {
        throw std::bad_alloc();
    }
    return {memory, std::free};
}

// Sets the number of OpenMP threads for the caller's thread until the end of the block.
struct Threads {
    explicit Threads(int n) : before(omp_get_max_threads()) { omp_set_num_threads(n); }
    ~Threads() { omp_set_num_threads(before); }
    int before;
};

} // namespace

Packing::Packing(Mode mode, int64_t n, int64_t k) : mode(mode), n(n), k(k), block(rotation_block(k)) {
    const memory::desc any({k, n}, weight_type(mode), Tag::any);
    const auto chosen = describe(mode, LAYOUT_FOR, n, k, any);
    if (std::string(chosen.impl_info_str()).rfind("ref", 0) == 0) {
        throw dnnl::error(dnnl_unimplemented, "oneDNN has only its reference kernel for this shape");
    }
    layout = chosen.weights_desc();
    columns_at_ = (layout.get_size() + 63) / 64 * 64;
}

const Packing & Packing::of(Mode mode, int64_t n, int64_t k) {
    static std::mutex mutex;
    static std::map<std::tuple<Mode, int64_t, int64_t>, Packing> known;
    const std::lock_guard<std::mutex> lock(mutex);
    return known.try_emplace({mode, n, k}, mode, n, k).first->second;
}

void Packing::pack(void * packed, const Rows & rows, int n_threads) const {
    const Threads threads(n_threads);
    const size_t row_size = bytes_of(mode) * static_cast<size_t>(k);
    const auto plain = allocate(row_size * static_cast<size_t>(n));
    float * column_scales = scales(packed);
    int32_t * column_zeros = zeros(packed);
#pragma omp parallel
    {
        std::vector<float> row(static_cast<size_t>(k));
#pragma omp for
        for (int64_t i = 0; i < n; ++i) {
            signed char * out = static_cast<signed char *>(plain.get()) + row_size * static_cast<size_t>(i);
            rows(i, row.data());
            if (mode == Mode::int8) {
                kernels().rotate(row.data(), k, block);
                column_scales[i] = kernels().quantize(row.data(), out, k, 0);
                column_zeros[i] = ZERO * std::accumulate(out, out + k, 0);
            } else {
                kernels().to_bfloat16(row.data(), reinterpret_cast<uint16_t *>(out), k);
            }
        }
    }
    // ggml's rows are the columns of oneDNN's second factor.
    memory from({{k, n}, weight_type(mode), Tag::ba}, engine(), plain.get());
    memory to(layout, engine(), packed);
    dnnl::stream stream(engine());
    dnnl::reorder(from, to).execute(stream, from, to);
    stream.wait();
}

void Runner::take(Mode mode, const float * rows, size_t stride, int64_t m, int64_t k) {
    const size_t row_size = bytes_of(mode) * static_cast<size_t>(k);
    if (activations_size_ < row_size * static_cast<size_t>(m)) {
        activations_ = {nullptr, nullptr};
        activations_size_ = row_size * static_cast<size_t>(m);
        activations_ = allocate(activations_size_);
    }
    scales_.resize(static_cast<size_t>(m));
    m_ = m;
    k_ = k;
    const int block = rotation_block(k);
#pragma omp parallel num_threads(n_threads) if (m > 1)
    {
        std::vector<float> row(mode == Mode::int8 ? static_cast<size_t>(k) : 0);
#pragma omp for
        for (int64_t i = 0; i < m; ++i) {
            const float * source = reinterpret_cast<const float *>(reinterpret_cast<const char *>(rows) + stride * static_cast<size_t>(i));
            char * out = static_cast<char *>(activations_.get()) + row_size * static_cast<size_t>(i);
            if (mode == Mode::int8) {
                std::copy(source, source + k, row.data());
                kernels().rotate(row.data(), k, block);
                scales_[static_cast<size_t>(i)] = kernels().quantize(row.data(), out, k, ZERO);
            } else {
                kernels().to_bfloat16(source, reinterpret_cast<uint16_t *>(out), k);
            }
        }
    }
}

void Runner::multiply(const Packing & packing, void * packed, float * out) {
    const Threads threads(n_threads);
    const Prepared & product = prepared(packing);
    if (scratch_size_ < product.scratch.get_size()) {
        scratch_ = {nullptr, nullptr};
        scratch_size_ = product.scratch.get_size();
        scratch_ = allocate(scratch_size_);
    }
    dnnl::stream stream(engine());
    product.run.execute(stream, {{DNNL_ARG_SRC, memory(product.source, engine(), activations_.get())},
                                 {DNNL_ARG_WEIGHTS, memory(packing.layout, engine(), packed)},
                                 {DNNL_ARG_DST, memory(product.target, engine(), out)},
                                 {DNNL_ARG_SCRATCHPAD, memory(product.scratch, engine(), scratch_.get())}});
    stream.wait();
    if (packing.mode == Mode::int8) {
        const float * column_scales = packing.scales(packed);
        const int32_t * column_zeros = packing.zeros(packed);
#pragma omp parallel for if (m_ > 1)
        for (int64_t i = 0; i < m_; ++i) {
            kernels().dequantize(out + i * packing.n, packing.n, scales_[static_cast<size_t>(i)], column_scales, column_zeros);
        }
    }
}

const Runner::Prepared & Runner::prepared(const Packing & packing) {
    // oneDNN divides the work among the threads when a primitive is made.
    const auto key = std::make_tuple(&packing, m_, n_threads);
    const auto found = prepared_.find(key);
    if (found != prepared_.end()) {
        return found->second;
    }
    if (prepared_.size() >= MOST_PREPARED) {
        prepared_.clear();
    }
    const auto wanted = describe(packing.mode, m_, packing.n, packing.k, packing.layout);
    return prepared_.emplace(key, Prepared{dnnl::matmul(wanted), wanted.src_desc(), wanted.dst_desc(), wanted.scratchpad_desc()}).first->second;
}

} // namespace qsift
