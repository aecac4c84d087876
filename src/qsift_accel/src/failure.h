// Why something failed. Nothing may be thrown through ggml, and its functions return no reason: so it is kept for the
// thread that called, until it is asked for.
#pragma once

#include <exception>
#include <string>

namespace qsift {

inline thread_local std::string reason;

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

} // namespace qsift
