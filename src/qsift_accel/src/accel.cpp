// A ggml backend for models whose block weights are packed: the device, the registry and what Python asks.
// ggml-backend-impl.h describes the seam.
#include "buffers.h"
#include "failure.h"
#include "formats.h"
#include "kernels.h"
#include "onednn.h"
#include "operations.h"

#include <cstddef>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))

// GGML_BACKEND_API_VERSION has stayed the same while these changed.
static_assert(sizeof(ggml_backend_buffer_i) == 11 * sizeof(void *), "ggml_backend_buffer_i has other members");
static_assert(offsetof(ggml_backend_buffer_i, set_tensor) == 4 * sizeof(void *), "ggml_backend_buffer_i is ordered otherwise");
static_assert(offsetof(ggml_backend_buffer_i, clear) == 9 * sizeof(void *), "ggml_backend_buffer_i is ordered otherwise");
static_assert(sizeof(ggml_backend_buffer_type_i) == 6 * sizeof(void *), "ggml_backend_buffer_type_i has other members");
static_assert(sizeof(ggml_backend_i) == 16 * sizeof(void *), "ggml_backend_i has other members");
static_assert(offsetof(ggml_backend_i, get_tensor_async) == 3 * sizeof(void *), "ggml_backend_i is ordered otherwise");
static_assert(offsetof(ggml_backend_i, graph_compute) == 12 * sizeof(void *), "ggml_backend_i is ordered otherwise");
static_assert(sizeof(ggml_backend_device_i) == 15 * sizeof(void *), "ggml_backend_device_i has other members");
static_assert(offsetof(ggml_backend_device_i, supports_op) == 9 * sizeof(void *), "ggml_backend_device_i is ordered otherwise");
static_assert(offsetof(ggml_tensor, op) == 80 && offsetof(ggml_tensor, data) == 248, "ggml_tensor is laid out otherwise");

namespace {

using qsift::Runners;

ggml_status backend_compute(ggml_backend_t backend, ggml_cgraph * graph) {
    const bool done = qsift::guarded("a product", [&] { qsift::compute(*static_cast<Runners *>(backend->context), graph); });
    return done ? GGML_STATUS_SUCCESS : GGML_STATUS_FAILED;
}

// llama.cpp copies the logits that nobody reads.
void backend_get(ggml_backend_t, const ggml_tensor * tensor, void * data, size_t offset, size_t size) {
    if (!qsift::is_unread_head(tensor)) {
        ggml_backend_tensor_get(tensor, data, offset, size);
    }
}

const char * backend_name(ggml_backend_t) { return "qsift"; }

void backend_free(ggml_backend_t backend) {
    delete static_cast<Runners *>(backend->context);
    delete backend;
}

void set_n_threads(ggml_backend_t backend, int n_threads) { static_cast<Runners *>(backend->context)->n_threads = n_threads; }

// The device

const char * device_name(ggml_backend_dev_t) { return "qsift"; }
const char * device_description(ggml_backend_dev_t) { return "block weights, packed"; }
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
    interface.get_tensor_async = backend_get;
    interface.graph_compute = backend_compute;
    return new ggml_backend{&guid, interface, device, new qsift::Runners};
}

// Only block weights are ours; inputs and results lie in the CPU's buffers, so nothing is copied.
ggml_backend_buffer_type_t device_buft(ggml_backend_dev_t) { return ggml_backend_cpu_buffer_type(); }

bool device_supports_op(ggml_backend_dev_t, const ggml_tensor * op) { return qsift::supports(op); }

bool device_supports_buft(ggml_backend_dev_t, ggml_backend_buffer_type_t buft) { return qsift::is_ours(buft) || ggml_backend_buft_is_host(buft); }

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
    if (std::strcmp(name, "ggml_backend_dev_get_extra_bufts") == 0) return reinterpret_cast<void *>(qsift::extra_bufts);
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
    told = std::exchange(qsift::reason, {});
    return told.c_str();
}

// Makes the next "laying out a weight", "packing a weight" or "a product" fail, for tests; the name must live on.
EXPORT void qsift_accel_fail(const char * what) { qsift::fails_on_purpose = what; }

// Computes out (m, n) = rows (m, k) × a weight of n rows and k columns in one of ggml's types, as a model does in the mode
// exact: so that tests see it alone. False where the CPU or the type has no kernel.
EXPORT bool qsift_accel_multiply(int type, const void * weight, int64_t n, int64_t k, const float * rows, int64_t m, float * out, int n_threads) {
    const qsift::Format * format = qsift::format_of(static_cast<ggml_type>(type));
    if (!format || !qsift::kernels().multiply_panels) {
        return false;
    }
    std::vector<char> packed(qsift::packed_size(qsift::panels(*format, n, k, nullptr)));
    const qsift::Panels panels = qsift::panels(*format, n, k, packed.data());
    qsift::pack(panels, static_cast<ggml_type>(type), weight, n_threads);
    qsift::ExactRunner runner;
    runner.take(*format, rows, sizeof(float) * static_cast<size_t>(k), m, k, n_threads);
    runner.add(panels, out);
    runner.finish(n_threads);
    return true;
}

// Computes the attention of q (queries, heads, width), float32, over k and v (cells, kv_heads, width), float16, with a mask
// (queries, cells), float16, or none, in float32 or bfloat16: so that tests see it alone. False where the CPU has no kernel.
EXPORT bool qsift_accel_attend(bool bf16, const float * q, const void * k, const void * v, const void * mask, float * out, int64_t queries,
                               int64_t cells, int64_t heads, int64_t kv_heads, int64_t width, float scale, int n_threads) {
    const auto attend = bf16 ? qsift::kernels().attend_bf16 : qsift::kernels().attend;
    if (!attend) {
        return false;
    }
    const auto rows = [&](const void * data, int64_t count, size_t size) {
        return qsift::Heads{static_cast<const char *>(data), size * static_cast<size_t>(count * width), size * static_cast<size_t>(width)};
    };
    attend({rows(q, heads, 4), rows(k, kv_heads, 2), rows(v, kv_heads, 2), static_cast<const char *>(mask), 2 * static_cast<size_t>(cells),
            out, queries, cells, heads, kv_heads, width, scale}, n_threads);
    return true;
}

// Tells whether contexts that this thread makes and runs from now on read the vocabulary's logits; true at first.
EXPORT void qsift_accel_read_logits(bool are_read) { qsift::logits_are_read = are_read; }

EXPORT size_t qsift_accel_packed_bytes(void) { return qsift::packed_bytes; } // of all models in memory
EXPORT void qsift_accel_set_pack_threads(int n) { qsift::pack_threads = n; }

EXPORT const char * qsift_accel_kernels(void) { return qsift::kernels_name(); }

// Opens oneDNN's library, which the modes bf16 and int8 need, and returns its version; null where it does not load.
EXPORT const char * qsift_accel_open_onednn(const char * path) {
    const char * version = nullptr;
    qsift::guarded("opening oneDNN", [&] { version = qsift::open_onednn(path); });
    return version;
}
