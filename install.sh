#!/bin/sh
# Installs this checkout into a virtual environment: install.sh VENV WHAT, where WHAT is . or .[EXTRA]
# llama.cpp is compiled with clang where a recent one with OpenMP is installed: its AMX kernels work
# when built by clang and crash when built by GCC 12. Otherwise the system's compiler serves.
set -eu

venv=$1
target=$2
python=${PYTHON:-python3}

fail() {
    echo "Error: $*" >&2
    exit 1
}

# need WHAT PACKAGES TEST…: what a test misses is installed on Debian by root, and asked for elsewhere.
need() {
    what=$1
    packages=$2
    shift 2
    "$@" >/dev/null 2>&1 && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "Installing $what: apt-get install $packages"
        # shellcheck disable=SC2086 # several packages
        { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y $packages; } </dev/null >/dev/null || true
        "$@" >/dev/null 2>&1 && return
    fi
    fail "$what is missing. Install it; on Debian and Ubuntu: apt-get install $packages."
}

need "Python 3" "python3 python3-venv" command -v "$python"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "$("$python" --version) is too old. qsift needs 3.10 or later: make PYTHON=python3.12 …"
need "a C compiler" build-essential command -v "${CC:-cc}"
need "a C++ compiler" build-essential command -v "${CXX:-c++}"
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    need "Python's venv module" python3-venv "$python" -c "import ensurepip, venv"
    "$python" -m venv --clear "$venv"
fi

# Whether a compiler makes an OpenMP program that runs; clang without its libomp does not.
works() {
    scratch=$(mktemp -d)
    echo 'int main(void) { int n = 0;
    #pragma omp parallel
    n = 1; return n - 1; }' >"$scratch/omp.c"
    "$1" -fopenmp "$scratch/omp.c" -o "$scratch/omp" 2>/dev/null && "$scratch/omp"
    status=$?
    rm -rf "$scratch"
    return $status
}
if [ -z "${CC:-}${CXX:-}" ] && [ "$(uname)" = Linux ]; then
    for suffix in -22 -21 -20 -19 -18 -17 -16 ""; do
        command -v "clang$suffix" >/dev/null && command -v "clang++$suffix" >/dev/null || continue
        [ "$("clang$suffix" -dumpversion | cut -d. -f1)" -ge 16 ] || continue
        if works "clang$suffix"; then
            export CC="clang$suffix" CXX="clang++$suffix"
            break
        fi
    done
fi
echo "Installing $target into $venv; llama.cpp, if it must be compiled, with ${CC:-cc} (about 5 minutes)."
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$target"

# Tests ask the one about the unit that `qsift serve --systemd` prints, and look at the desk's page with the other; they
# are skipped without.
case "$(uname) $target" in
    "Linux .[test]")
        (need systemd-analyze systemd command -v systemd-analyze) || true
        (need Chromium chromium command -v chromium) || true
        ;;
esac

# The accelerator, where this CPU gains from it. qsift works without, so whatever goes wrong here is said and survived.
flags=$(sed -n 's/^flags.*: / /p;/^flags/q' /proc/cpuinfo 2>/dev/null || true)
case "$(uname -sm) $flags " in
    "Linux x86_64"*" avx_vnni "* | "Linux x86_64"*" avx512_vnni "* | "Linux x86_64"*" avx512_bf16 "*)
        echo "This CPU gains from the accelerator: building qsift-accel."
        "$venv/bin/python" -m pip freeze --exclude-editable | grep -i "^llama.cpp.python==" >"$venv/llama-cpp-python.txt"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
            --constraint "$venv/llama-cpp-python.txt" './src/qsift_accel[onednn]' ||
            echo "qsift-accel was not built (see above). qsift runs without it, slower on this CPU."
        ;;
esac
