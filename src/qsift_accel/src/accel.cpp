// A ggml backend whose buffers hold packed weights: see product.h for what is computed, ggml-backend-impl.h for the seam.
//
// Nothing may be thrown through ggml, and its functions return no reason: what went wrong is kept for the thread that
// called, and qsift_accel_error() tells it.
#include "product.h"

#include "ggml-backend-impl.h"

#include <atomic>
#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <utility>

#define EXPORT extern "C" __attribute__((visibility("default")))

// GGML_BACKEND_API_VERSION has stayed the same while these changed.
static_assert(sizeof(ggml_backend_buffer_i) == 11 * sizeof(void *), "ggml_backend_buffer_i has other members");
static_assert(offsetof(ggml_backend_buffer_i, set_tensor) == 4 * sizeof(void *), "ggml_backend_buffer_i is ordered otherwise");
static_assert(offsetof(ggml_backend_buffer_i, clear) == 9 * sizeof(void *), "ggml_backend_buffer_i is ordered otherwise");
static_assert(sizeof(ggml_backend_buffer_type_i) == 6 * sizeof(void *), "ggml_backend_buffer_type_i has other members");
static_assert(sizeof(ggml_backend_i) == 16 * sizeof(void *), "ggml_backend_i has other members");
static_assert(offsetof(ggml_backend_i, graph_compute) == 12 * sizeof(void *), "ggml_backend_i is ordered otherwise");
static_assert(sizeof(ggml_backend_device_i) == 15 * sizeof(void *), "ggml_backend_device_i has other members");
static_assert(offsetof(ggml_backend_device_i, supports_op) == 9 * sizeof(void *), "ggml_backend_device_i is ordered otherwise");
static_assert(offsetof(ggml_tensor, op) == 80 && offsetof(ggml_tensor, data) == 248, "ggml_tensor is laid out otherwise");

namespace {

using qsift::Mode;
using qsift::Packing;
using qsift::Runner;

thread_local std::string reason;
std::atomic<size_t> packed_bytes{0};
std::atomic<int> pack_threads{1};

// Runs the work; what it throws becomes the reason.
template <typename Work> bool guarded(const char * what, const Work & work) {
    try {
        work();
        return true;
    } catch (const std::exception & error) {
        reason = std::string(what) + ": " + error.what();
    }
    return false;
}

// Buffers

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
        const Mode mode = *static_cast<const Mode *>(buffer->buft->context);
        Packing::of(mode, tensor->ne[1], tensor->ne[0]).pack(tensor->data, rows, pack_threads);
    });
}

// The packed layout belongs to oneDNN: nothing reads it back, and zeroes or bytes mean nothing in it.
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
    return *static_cast<const Mode *>(buft->context) == Mode::int8 ? "qsift_int8" : "qsift_bf16";
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
    size_t size = ggml_nbytes(tensor);
    guarded("laying out a weight", [&] { size = Packing::of(*static_cast<const Mode *>(buft->context), tensor->ne[1], tensor->ne[0]).size(); });
    return size;
}

// Products

void multiply(Runner & runner, const ggml_tensor * node, const ggml_tensor *& taken) {
    const ggml_tensor *weight = node->src[0], *input = node->src[1];
    const Mode mode = *static_cast<const Mode *>(weight->buffer->buft->context);
    if (input != taken) {
        taken = nullptr;
        runner.take(mode, static_cast<const float *>(input->data), input->nb[1], input->ne[1], input->ne[0]);
        taken = input;
    }
    runner.multiply(Packing::of(mode, weight->ne[1], weight->ne[0]), weight->data, static_cast<float *>(node->data));
}

ggml_status backend_compute(ggml_backend_t backend, ggml_cgraph * graph) {
    Runner & runner = *static_cast<Runner *>(backend->context);
    const ggml_tensor * taken = nullptr; // Q, K and V share their input, as gate and up do
    const bool done = guarded("a product", [&] {
        for (int i = 0; i < ggml_graph_n_nodes(graph); ++i) {
            const ggml_tensor * node = ggml_graph_node(graph, i);
            if (node->op == GGML_OP_MUL_MAT && node->flags & GGML_TENSOR_FLAG_COMPUTE && !ggml_is_empty(node)) {
                multiply(runner, node, taken);
            }
        }
    });
    return done ? GGML_STATUS_SUCCESS : GGML_STATUS_FAILED;
}

const char * backend_name(ggml_backend_t) { return "qsift"; }

void backend_free(ggml_backend_t backend) {
    delete static_cast<Runner *>(backend->context);
    delete backend;
}

void set_n_threads(ggml_backend_t backend, int n_threads) { static_cast<Runner *>(backend->context)->n_threads = n_threads; }

// The device

const char * device_name(ggml_backend_dev_t) { return "qsift"; }
const char * device_description(ggml_backend_dev_t) { return "block weights, packed for oneDNN"; }
void device_memory(ggml_backend_dev_t, size_t * free, size_t * total) { *free = *total = 0; }
enum ggml_backend_dev_type device_type(ggml_backend_dev_t) { return GGML_BACKEND_DEVICE_TYPE_ACCEL; }

void device_props(ggml_backend_dev_t device, ggml_backend_dev_props * props) {
    *props = {};
    props->name = device_name(device);
    props->description = device_description(device);
    props->type = device_type(device);
}

ggml_backend_t device_backend(ggml_backend_dev_t device, const char *) {
    static ggml_guid guid = {'q', 's', 'i', 'f', 't', '-', 'a', 'c', 'c', 'e', 'l', 0, 0, 0, 0, 1};
    ggml_backend_i interface = {};
    interface.get_name = backend_name;
    interface.free = backend_free;
    interface.graph_compute = backend_compute;
    return new ggml_backend{&guid, interface, device, new Runner};
}

// Only block weights are ours; inputs and results lie in the CPU's buffers, so nothing is copied.
ggml_backend_buffer_type_t device_buft(ggml_backend_dev_t) { return ggml_backend_cpu_buffer_type(); }

bool is_ours(ggml_backend_buffer_type_t buft) { return buft->iface.alloc_buffer == buft_alloc; }

bool device_supports_op(ggml_backend_dev_t, const ggml_tensor * op) {
    if (op->op == GGML_OP_NONE) { // a weight itself
        return true;
    }
    if (op->op != GGML_OP_MUL_MAT || !op->src[0]->buffer || !is_ours(op->src[0]->buffer->buft)) {
        return false;
    }
    const ggml_tensor * input = op->src[1];
    return input->type == GGML_TYPE_F32 && input->nb[0] == sizeof(float) && input->ne[2] == 1 && input->ne[3] == 1 && ggml_is_contiguous(op);
}

bool device_supports_buft(ggml_backend_dev_t, ggml_backend_buffer_type_t buft) { return is_ours(buft) || ggml_backend_buft_is_host(buft); }

// A NULL-terminated array, as ggml's own CPU backend gives one: bf16, then int8.
ggml_backend_buffer_type_t * extra_bufts(ggml_backend_dev_t device) {
    static Mode modes[] = {Mode::bf16, Mode::int8};
    constexpr ggml_backend_buffer_type_i interface = {buft_name, buft_alloc, buft_alignment, nullptr, buft_alloc_size, nullptr};
    static ggml_backend_buffer_type bufts[] = {{interface, device, &modes[0]}, {interface, device, &modes[1]}};
    static ggml_backend_buffer_type_t list[] = {&bufts[0], &bufts[1], nullptr};
    return list;
}

// The registry

const char * reg_name(ggml_backend_reg_t) { return "qsift"; }
size_t reg_count(ggml_backend_reg_t) { return 1; }

ggml_backend_dev_t reg_device(ggml_backend_reg_t reg, size_t) {
    static ggml_backend_device device = [&] {
        ggml_backend_device_i interface = {};
        interface.get_name = device_name;
        interface.get_description = device_description;
        interface.get_memory = device_memory;
        interface.get_type = device_type;
        interface.get_props = device_props;
        interface.init_backend = device_backend;
        interface.get_buffer_type = device_buft;
        interface.supports_op = device_supports_op;
        interface.supports_buft = device_supports_buft;
        return ggml_backend_device{interface, reg, nullptr};
    }();
    return &device;
}

void * reg_address(ggml_backend_reg_t, const char * name) {
    if (std::strcmp(name, "ggml_backend_set_n_threads") == 0) return reinterpret_cast<void *>(set_n_threads);
    if (std::strcmp(name, "ggml_backend_dev_get_extra_bufts") == 0) return reinterpret_cast<void *>(extra_bufts);
    return nullptr;
}

} // namespace

EXPORT ggml_backend_reg_t ggml_backend_init(void) {
    static ggml_backend_reg reg = {GGML_BACKEND_API_VERSION, {reg_name, reg_count, reg_device, reg_address}, nullptr};
    return &reg;
}

// Zero declines: the ggml in this process is not the one that this file was compiled for.
EXPORT int ggml_backend_score(void) { return std::strcmp(ggml_version(), QSIFT_ACCEL_GGML) == 0 ? 1 : 0; }

// Why the last load or product on this thread failed, or "" if none did; forgets it.
EXPORT const char * qsift_accel_error(void) {
    static thread_local std::string told;
    told = std::exchange(reason, {});
    return told.c_str();
}

EXPORT size_t qsift_accel_packed_bytes(void) { return packed_bytes; } // of all models in memory
EXPORT void qsift_accel_set_pack_threads(int n) { pack_threads = n; }

EXPORT const char * qsift_accel_instruction_set(void) {
    static const std::string name = qsift::instruction_set();
    return name.c_str();
}

EXPORT const char * qsift_accel_onednn(void) {
    static const std::string version = [] {
        const dnnl_version_t * v = dnnl_version();
        return std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch);
    }();
    return version.c_str();
}
