#include "operations.h"

#include "buffers.h"
#include "ggml-impl.h"
#include "kernels.h"

#include <cstring>

namespace qsift {

namespace {

bool is_product(const ggml_tensor * op) { return op->op == GGML_OP_MUL_MAT && op->src[0]->buffer && is_ours(op->src[0]->buffer->buft); }

bool supports_product(const ggml_tensor * op) {
    const ggml_tensor * input = op->src[1];
    return input->type == GGML_TYPE_F32 && input->nb[0] == sizeof(float) && input->ne[2] == 1 && input->ne[3] == 1 && ggml_is_contiguous(op);
}

// Returns the product that what an operation works on comes from, null where it is none of ours. Attention and norms are
// ours where there is one. This device is in every context of the process, so that is what tells a model that was packed
// from another one, which stays with ggml as a whole.
const ggml_tensor * product_before(const ggml_tensor * op) {
    while (op && op->op != GGML_OP_MUL_MAT) {
        op = op->src[0];
    }
    return op && is_product(op) ? op : nullptr;
}

const Layout & layout_of(const ggml_tensor * product) { return qsift::layout_of(product->src[0]->buffer->buft); }

bool supports_norm(const ggml_tensor * op) {
    const ggml_tensor * input = op->src[0];
    return input->type == GGML_TYPE_F32 && input->nb[0] == sizeof(float) && input->ne[3] == 1 && ggml_is_contiguous(op);
}

bool supports_weights(const ggml_tensor * op) {
    const ggml_tensor *rows = op->src[0], *weights = op->src[1];
    return rows->op == GGML_OP_RMS_NORM && supports_norm(rows) && weights->type == GGML_TYPE_F32 && ggml_is_contiguous(weights) &&
           weights->ne[0] == op->ne[0] && ggml_nrows(weights) == 1 && ggml_is_contiguous(op);
}

bool supports_attention(const ggml_tensor * op) {
    const ggml_tensor *q = op->src[0], *k = op->src[1], *v = op->src[2], *mask = op->src[3];
    float other[2]; // ALiBi's slope and the cap of the scores
    std::memcpy(other, op->op_params + 1, sizeof other);
    return other[0] == 0 && other[1] == 0 && !op->src[4] && q->type == GGML_TYPE_F32 &&
           k->type == GGML_TYPE_F16 && v->type == GGML_TYPE_F16 && q->ne[0] == v->ne[0] && q->ne[0] % 16 == 0 &&
           q->ne[0] <= MAX_HEAD_WIDTH && q->ne[2] / k->ne[2] <= MAX_GROUP && q->ne[3] == 1 && k->ne[3] == 1 &&
           q->nb[0] == 4 && k->nb[0] == 2 && v->nb[0] == 2 && (!mask || (mask->type == GGML_TYPE_F16 && mask->ne[2] == 1));
}

// The input of the products that come one after the other, and how it was quantised.
struct Taken {
    const ggml_tensor * input = nullptr;
    const Format * format = nullptr;
};

void multiply(Runners & runners, const ggml_tensor * node, Taken & taken) {
    const ggml_tensor *weight = node->src[0], *input = node->src[1];
    const Layout & layout = layout_of(node);
    const Format * format = layout.format(weight);
    if (input != taken.input || format != taken.format) {
        runners.exact.finish(runners.n_threads);
        layout.take(runners, weight, input);
        taken = {input, format};
    }
    layout.multiply(runners, weight, static_cast<float *>(node->data));
}

void attend(int n_threads, const ggml_tensor * node) {
    const ggml_tensor *q = node->src[0], *k = node->src[1], *v = node->src[2], *mask = node->src[3];
    const auto heads = [](const ggml_tensor * t) { return Heads{static_cast<const char *>(t->data), t->nb[1], t->nb[2]}; };
    float scale;
    std::memcpy(&scale, node->op_params, sizeof scale);
    const bool bf16 = layout_of(product_before(node)).mode != Mode::exact && kernels().attend_bf16 && q->ne[0] % 32 == 0;
    (bf16 ? kernels().attend_bf16 : kernels().attend)(
        {heads(q), heads(k), heads(v), mask ? static_cast<const char *>(mask->data) : nullptr, mask ? mask->nb[1] : 0,
         static_cast<float *>(node->data), q->ne[1], k->ne[1], q->ne[2], k->ne[2], q->ne[0], scale}, n_threads);
}

// RMS_NORM, with the MUL that follows it or without.
void normalize(int n_threads, const ggml_tensor * node, const ggml_tensor * product) {
    const ggml_tensor * input = node->src[0];
    const float * weights = product ? static_cast<const float *>(product->src[1]->data) : nullptr;
    float * out = static_cast<float *>(product ? product->data : node->data);
    float epsilon;
    std::memcpy(&epsilon, node->op_params, sizeof epsilon);
    const int64_t n = node->ne[0], rows = ggml_nrows(node);
#pragma omp parallel for num_threads(n_threads)
    for (int64_t i = 0; i < rows; ++i) {
        const size_t place = input->nb[1] * static_cast<size_t>(i % node->ne[1]) + input->nb[2] * static_cast<size_t>(i / node->ne[1]);
        const float * row = reinterpret_cast<const float *>(static_cast<const char *>(input->data) + place);
        kernels().normalize(row, weights, out + i * n, n, epsilon);
    }
}

// MUL of rows with weights, where it does not follow its RMS_NORM at once.
void weigh(const ggml_tensor * node) {
    const float *rows = static_cast<const float *>(node->src[0]->data), *weights = static_cast<const float *>(node->src[1]->data);
    float * out = static_cast<float *>(node->data);
    for (int64_t i = 0; i < ggml_nelements(node); ++i) out[i] = rows[i] * weights[i % node->ne[0]];
}

} // namespace

thread_local bool logits_are_read = true;

bool is_unread_head(const ggml_tensor * op) {
    return !logits_are_read && op->op == GGML_OP_MUL_MAT && std::strcmp(op->name, "result_output") == 0 && product_before(op->src[1]);
}

bool supports(const ggml_tensor * op) {
    switch (op->op) {
        case GGML_OP_NONE: return true; // a weight itself
        case GGML_OP_MUL_MAT: return is_unread_head(op) || (is_product(op) && supports_product(op));
        case GGML_OP_FLASH_ATTN_EXT: return product_before(op) && supports_attention(op);
        case GGML_OP_RMS_NORM: return product_before(op) && supports_norm(op);
        case GGML_OP_MUL: return product_before(op) && supports_weights(op);
        default: return false;
    }
}

void compute(Runners & runners, ggml_cgraph * graph) {
    Taken taken; // Q, K and V share their input, as gate and up do
    for (int i = 0; i < ggml_graph_n_nodes(graph); ++i) {
        const ggml_tensor * node = ggml_graph_node(graph, i);
        if (!(node->flags & GGML_TENSOR_FLAG_COMPUTE) || ggml_is_empty(node)) {
            continue;
        }
        const bool is_view = node->op == GGML_OP_RESHAPE || node->op == GGML_OP_VIEW || node->op == GGML_OP_PERMUTE || node->op == GGML_OP_TRANSPOSE;
        if (node->op != GGML_OP_MUL_MAT && !is_view) {
            runners.exact.finish(runners.n_threads);
        }
        switch (node->op) {
            case GGML_OP_MUL_MAT:
                if (is_product(node)) { // and no unread head
                    multiply(runners, node, taken);
                }
                break;
            case GGML_OP_FLASH_ATTN_EXT: attend(runners.n_threads, node); break;
            case GGML_OP_RMS_NORM: {
                const bool is_pair = ggml_can_fuse(graph, i, {GGML_OP_RMS_NORM, GGML_OP_MUL});
                normalize(runners.n_threads, node, is_pair ? ggml_graph_node(graph, ++i) : nullptr);
                break;
            }
            case GGML_OP_MUL: weigh(node); break;
            default: break; // views
        }
    }
    runners.exact.finish(runners.n_threads);
}

} // namespace qsift
