#!/bin/sh
# Installs this checkout and one of its extras into a virtual environment: install.sh VENV EXTRA
# llama.cpp is compiled with clang where a recent one with OpenMP is installed: its AMX kernels work
# when built by clang and crash when built by GCC 12. Otherwise the system's compiler serves.
set -eu

venv=$1
extra=$2
python=${PYTHON:-python3}

missing() {
    echo "Error: $1 is missing. $2" >&2
    exit 1
}

command -v "$python" >/dev/null || missing "$python" "Install Python 3.10 or later."
command -v "${CC:-cc}" >/dev/null || missing "a C compiler" "On Debian: apt-get install build-essential."
if [ ! -x "$venv/bin/python" ]; then
    "$python" -m venv "$venv" || missing "Python's venv" "On Debian: apt-get install python3-venv."
fi

# The newest clang of version 16 or later that compiles and links an OpenMP program.
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
if [ -z "${CC:-}" ] && [ "$(uname)" = Linux ]; then
    for suffix in -22 -21 -20 -19 -18 -17 -16 ""; do
        command -v "clang++$suffix" >/dev/null || continue
        [ "$("clang$suffix" -dumpversion | cut -d. -f1)" -ge 16 ] || continue
        if works "clang$suffix"; then
            export CC="clang$suffix" CXX="clang++$suffix"
            break
        fi
    done
fi
echo "Installing qsift[$extra] into $venv; llama.cpp, if it must be compiled, with ${CC:-cc} (about 5 minutes)."
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".[$extra]"
