# Sourced by bin/check and bin/demo: goes to the checkout and makes its .venv. Runs in bash 3.2 and later.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$top" || exit 1
venv=$top/.venv

export PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUTF8=1
unset PYTHONPATH PYTHONHOME

die() {
    printf '%s\n' "$@" >&2
    exit 1
}

find_python() {
    local name
    for name in python3 python3.13 python3.12 python3.11 python3.14; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            printf '%s\n' "$name"
            return
        fi
    done
    die "firstlight needs Python 3.11 or newer, and none was found." \
        "Debian, Ubuntu: sudo apt install python3 python3-venv    macOS: brew install python"
}

make_venv() {
    local python
    python=$(find_python) || exit 1
    "$python" -c 'import venv, ensurepip' >/dev/null 2>&1 ||
        die "$python cannot make a virtual environment: its module 'venv' or 'ensurepip' is missing." \
            "Debian, Ubuntu: sudo apt install python3-venv (or $python-venv)"
    printf 'Making .venv with %s\n' "$("$python" --version)"
    "$python" -m venv "$venv" || die "Making $venv failed."
}

# What an installation depends on; another place, Python or pyproject.toml asks for a new one.
fingerprint() {
    printf '%s\n' "$top"
    "$venv/bin/python" -c 'import sys; print(sys.version)'
    cksum <pyproject.toml
}

# install_firstlight EXTRAS: "" or "dev"; whoever has dev has everything. Needs the network only when something changed.
install_firstlight() {
    local extras=$1 stamp
    if [ -f "$venv/firstlight.place" ] && [ "$(cat "$venv/firstlight.place")" != "$top" ]; then
        printf 'The checkout was moved or copied: making .venv anew\n'
        rm -rf "$venv"
    fi
    [ -x "$venv/bin/python" ] || make_venv
    for stamp in "$venv/installed-dev" "$venv/installed-$extras"; do
        if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint)" ]; then
            return
        fi
    done
    printf 'Installing firstlight into .venv\n'
    "$venv/bin/python" -m pip install --quiet --editable ".${extras:+[$extras]}" ||
        die "The installation failed; the lines above say why. It needs a network connection."
    printf '%s\n' "$top" >"$venv/firstlight.place"
    fingerprint >"$venv/installed-$extras"
}

# One numeric thread, so that results and times do not depend on the machine's cores.
one_thread() {
    export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 VECLIB_MAXIMUM_THREADS=1 NUMEXPR_NUM_THREADS=1
    export NUMBA_NUM_THREADS=1
}

# Font and other caches of matplotlib go into .venv, so that an unwritable or empty home folder does no harm.
export MPLCONFIGDIR=$venv/matplotlib
