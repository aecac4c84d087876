#include "onednn.h"

#include "kernels.h"

#include <dlfcn.h>
#include <stdexcept>
#include <string>

namespace qsift {

namespace {

template <typename Function> void find(void * library, const char * name, Function & function) {
    function = reinterpret_cast<Function>(dlsym(library, name));
    if (!function) {
        throw std::runtime_error(dlerror());
    }
}

} // namespace

const char * open_onednn(const char * path) {
    static const std::string version = [&] {
        void * library = dlopen(path, RTLD_NOW | RTLD_LOCAL); // torch has a copy of its own
        if (!library) {
            throw std::runtime_error(dlerror());
        }
#define QSIFT_FIND(name) find(library, #name, dnnl::name);
        QSIFT_ONEDNN_FUNCTIONS(QSIFT_FIND)
#undef QSIFT_FIND
        // $ONEDNN_MAX_CPU_ISA, which is also torch's, would leave modes that kernels_name() promises without their instructions.
        if (dnnl::dnnl_set_max_cpu_isa(static_cast<dnnl_cpu_isa_t>(onednn_isa())) != dnnl_success) {
            throw std::runtime_error("its instruction set cannot be chosen");
        }
        const dnnl_version_t * v = dnnl::dnnl_version();
        return std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch);
    }();
    return version.c_str();
}

} // namespace qsift
