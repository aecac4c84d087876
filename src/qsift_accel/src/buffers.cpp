#include "buffers.h"

#include "failure.h"
#include "formats.h"
#include "product.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

namespace qsift {

namespace {

constexpr size_t ALIGNMENT = 64;

const Format & exact_format(const ggml_tensor * weight) {
    const Format * format = format_of(weight->type);
    if (!format) {
        throw std::runtime_error(std::string("there is no kernel for the type ") + ggml_type_name(weight->type));
    }
    return *format;
}

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
        const Mode mode = *static_cast<const Mode *>(buffer->buft->context);
        if (mode == Mode::exact) {
            pack(panels(exact_format(tensor), tensor->ne[1], tensor->ne[0], tensor->data), tensor->type, data, pack_threads);
            return;
        }
        const auto to_float = ggml_get_type_traits(tensor->type)->to_float;
        const size_t row_size = ggml_row_size(tensor->type, tensor->ne[0]);
        if (tensor->type != GGML_TYPE_F32 && !to_float) {
            throw std::runtime_error(std::string("ggml cannot read the type ") + ggml_type_name(tensor->type));
        }
        const auto rows = [&](int64_t n, float * out) {
            const char * row = static_cast<const char *>(data) + row_size * static_cast<size_t>(n);
            if (tensor->type == GGML_TYPE_F32) {
                std::memcpy(out, row, row_size);
            } else {
                to_float(row, out, tensor->ne[0]);
            }
        };
        Packing::of(mode, tensor->ne[1], tensor->ne[0]).pack(tensor->data, rows, pack_threads);
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

const char * buft_name(ggml_backend_buffer_type_t buft) {
    constexpr const char * names[] = {"qsift_exact", "qsift_bf16", "qsift_int8"};
    return names[static_cast<int>(*static_cast<const Mode *>(buft->context))];
}

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
    guarded("laying out a weight", [&] {
        const Mode mode = *static_cast<const Mode *>(buft->context);
        size = mode == Mode::exact ? packed_size(panels(exact_format(tensor), tensor->ne[1], tensor->ne[0], nullptr)) : Packing::of(mode, tensor->ne[1], tensor->ne[0]).size();
    });
    return size;
}

} // namespace

bool is_ours(ggml_backend_buffer_type_t buft) { return buft->iface.alloc_buffer == buft_alloc; }

ggml_backend_buffer_type_t * extra_bufts(ggml_backend_dev_t device) {
    static Mode modes[] = {Mode::exact, Mode::bf16, Mode::int8};
    constexpr ggml_backend_buffer_type_i interface = {buft_name, buft_alloc, buft_alignment, nullptr, buft_alloc_size, nullptr};
    static ggml_backend_buffer_type bufts[] = {{interface, device, &modes[0]}, {interface, device, &modes[1]}, {interface, device, &modes[2]}};
    static ggml_backend_buffer_type_t list[] = {&bufts[0], &bufts[1], &bufts[2], nullptr};
    return list;
}

} // namespace qsift
