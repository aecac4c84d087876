// Why something failed. Nothing may be thrown through ggml, and its functions return no reason: so it is kept for the
// thread that called, until it is asked for.
#pragma once

#include <atomic>
#include <cstring>
#include <stdexcept>
#include <string>

namespace qsift {

inline thread_local std::string reason;

// The next work of this name fails: so that tests see what happens then.
inline std::atomic<const char *> fails_on_purpose{nullptr};

// Runs the work; what it throws becomes the reason.
template <typename Work> bool guarded(const char * what, const Work & work) {
    try {
        const char * name = fails_on_purpose;
        if (name && std::strcmp(name, what) == 0) {
            fails_on_purpose = nullptr;
            throw std::runtime_error("it was told to fail");
        }
        work();
        return true;
    } catch (const std::exception & error) {
        reason = std::string(what) + ": " + error.what();
    }
    return false;
}

} // namespace qsift
