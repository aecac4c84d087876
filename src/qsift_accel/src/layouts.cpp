#include "layouts.h"

#include "formats.h"

#include <cstring>
#include <stdexcept>
#include <string>

namespace qsift {

namespace {

const float * rows_of(const ggml_tensor * input) { return static_cast<const float *>(input->data); }

class Exact final : public Layout {
public:
    Exact() : Layout(Mode::exact, "qsift_exact") {}

    size_t size(const ggml_tensor * weight) const override { return packed_size(panels_of(weight)); }

    void pack(const ggml_tensor * weight, const void * data, int n_threads) const override {
        qsift::pack(panels_of(weight), weight->type, data, n_threads);
    }

    const Format * format(const ggml_tensor * weight) const override {
        const Format * found = format_of(weight->type);
        if (!found) {
            throw std::runtime_error(std::string("there is no kernel for the type ") + ggml_type_name(weight->type));
        }
        return found;
    }

    void take(Runners & runners, const ggml_tensor * weight, const ggml_tensor * input) const override {
        runners.exact.take(*format(weight), rows_of(input), input->nb[1], input->ne[1], input->ne[0], runners.n_threads);
    }

    void multiply(Runners & runners, const ggml_tensor * weight, float * out) const override { runners.exact.add(panels_of(weight), out); }

private:
    Panels panels_of(const ggml_tensor * weight) const { return panels(*format(weight), weight->ne[1], weight->ne[0], weight->data); }
};

class OneDnn final : public Layout {
public:
    OneDnn(Mode mode, const char * name) : Layout(mode, name) {}

    size_t size(const ggml_tensor * weight) const override { return packing(weight).size(); }

    void pack(const ggml_tensor * weight, const void * data, int n_threads) const override {
        const auto to_float = ggml_get_type_traits(weight->type)->to_float;
        const size_t row_size = ggml_row_size(weight->type, weight->ne[0]);
        if (weight->type != GGML_TYPE_F32 && !to_float) {
            throw std::runtime_error(std::string("ggml cannot read the type ") + ggml_type_name(weight->type));
        }
        const auto rows = [&](int64_t n, float * out) {
            const char * row = static_cast<const char *>(data) + row_size * static_cast<size_t>(n);
            if (weight->type == GGML_TYPE_F32) {
                std::memcpy(out, row, row_size);
            } else {
                to_float(row, out, weight->ne[0]);
            }
        };
        packing(weight).pack(weight->data, rows, n_threads);
    }

    const Format * format(const ggml_tensor *) const override { return nullptr; }

    void take(Runners & runners, const ggml_tensor *, const ggml_tensor * input) const override {
        runners.onednn.n_threads = runners.n_threads;
        runners.onednn.take(mode, rows_of(input), input->nb[1], input->ne[1], input->ne[0]);
    }

    void multiply(Runners & runners, const ggml_tensor * weight, float * out) const override {
        runners.onednn.multiply(packing(weight), weight->data, out);
    }

private:
    const Packing & packing(const ggml_tensor * weight) const { return Packing::of(mode, weight->ne[1], weight->ne[0]); }
};

} // namespace

const Layout & layout(Mode mode) {
    static const Exact exact;
    static const OneDnn bf16(Mode::bf16, "qsift_bf16"), int8(Mode::int8, "qsift_int8");
    switch (mode) {
        case Mode::exact: return exact;
        case Mode::bf16: return bf16;
        default: return int8;
    }
}

} // namespace qsift
