#include "buffers.h"

#include "failure.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

namespace qsift {

namespace {

constexpr size_t ALIGNMENT = 64;

void buffer_free(ggml_backend_buffer_t buffer) {
    packed_bytes -= buffer->size;
    std::free(buffer->context);
}

void * buffer_base(ggml_backend_buffer_t buffer) { return buffer->context; }

void buffer_set(ggml_backend_buffer_t buffer, ggml_tensor * tensor, const void * data, size_t offset, size_t size) {
    guarded("packing a weight", [&] {
        if (offset != 0 || size != ggml_nbytes(tensor)) {
            throw std::runtime_error("a weight came in parts");
        }
        layout_of(buffer->buft).pack(tensor, data, pack_threads);
    });
}

// Nothing reads a packed layout back, and zeroes or bytes mean nothing in it.
void buffer_get(ggml_backend_buffer_t, const ggml_tensor * tensor, void * data, size_t, size_t size) {
    reason = std::string("the packed weight ") + tensor->name + " cannot be read back";
    std::memset(data, 0xff, size); // NaN
}
void buffer_memset(ggml_backend_buffer_t, ggml_tensor *, uint8_t, size_t, size_t) {}
void buffer_clear(ggml_backend_buffer_t buffer, uint8_t value) { std::memset(buffer->context, value, buffer->size); }

constexpr ggml_backend_buffer_i BUFFER = {
    buffer_free, buffer_base, nullptr, buffer_memset, buffer_set, buffer_get, nullptr, nullptr, nullptr, buffer_clear, nullptr,
};

const char * buft_name(ggml_backend_buffer_type_t buft) { return layout_of(buft).name; }

ggml_backend_buffer_t buft_alloc(ggml_backend_buffer_type_t buft, size_t size) {
    const size_t rounded = (std::max<size_t>(size, 1) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    void * memory = std::aligned_alloc(ALIGNMENT, rounded);
    if (!memory) {
        reason = "memory for the packed weights is not to be had";
        return nullptr;
    }
    packed_bytes += size;
    return ggml_backend_buffer_init(buft, BUFFER, memory, size);
}

size_t buft_alignment(ggml_backend_buffer_type_t) { return ALIGNMENT; }

size_t buft_alloc_size(ggml_backend_buffer_type_t buft, const ggml_tensor * tensor) {
    size_t size = 4 * static_cast<size_t>(ggml_nelements(tensor)) + (1 << 16); // enough for any, where none is found
    guarded("laying out a weight", [&] { size = layout_of(buft).size(tensor); });
    return size;
}

} // namespace

bool is_ours(ggml_backend_buffer_type_t buft) { return buft->iface.alloc_buffer == buft_alloc; }

const Layout & layout_of(ggml_backend_buffer_type_t buft) { return *static_cast<const Layout *>(buft->context); }

ggml_backend_buffer_type_t * extra_bufts(ggml_backend_dev_t device) {
    constexpr ggml_backend_buffer_type_i interface = {buft_name, buft_alloc, buft_alignment, nullptr, buft_alloc_size, nullptr};
    const auto buft = [&](Mode mode) { return ggml_backend_buffer_type{interface, device, const_cast<Layout *>(&layout(mode))}; };
    static ggml_backend_buffer_type bufts[] = {buft(Mode::exact), buft(Mode::bf16), buft(Mode::int8)};
    static ggml_backend_buffer_type_t list[] = {&bufts[0], &bufts[1], &bufts[2], nullptr};
    return list;
}

} // namespace qsift
