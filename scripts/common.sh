# Functions that scripts/demo.sh, scripts/test.sh and .ci/run share.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
MISSING=""

say() { printf '== %s\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# ---------------------------------------------------------------- apt

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        sudo "$@"
    else
        return 1
    fi
}

# Install Debian packages; without the right to, note them in MISSING.
apt_install() {
    local log
    log=$(mktemp)
    if command -v apt-get >/dev/null && as_root true; then
        say "Installing system packages: $*"
        # The list of packages of a fresh machine is empty or old.
        if {
            as_root env DEBIAN_FRONTEND=noninteractive apt-get -q update &&
            as_root env DEBIAN_FRONTEND=noninteractive \
                apt-get -q install -y --no-install-recommends "$@"
        } >"$log" 2>&1 </dev/null; then
            rm -f "$log"
            return 0
        fi
        tail -n 15 "$log" >&2
    fi
    rm -f "$log"
    MISSING="${MISSING:+$MISSING }$*"
    return 1
}

has_library() {
    local tool=ldconfig known
    command -v ldconfig >/dev/null || tool=/sbin/ldconfig
    known=$("$tool" -p 2>/dev/null || true)
    [[ $known == *"$1 "* ]]
}

# What Qt 6 loads from the system, as "library:package that has it".
QT_LIBRARIES="
    libGL.so.1:libgl1 libEGL.so.1:libegl1 libOpenGL.so.0:libopengl0
    libglib-2.0.so.0:libglib2.0-0 libdbus-1.so.3:libdbus-1-3
    libfontconfig.so.1:libfontconfig1 libX11-xcb.so.1:libx11-xcb1
    libxkbcommon.so.0:libxkbcommon0 libxkbcommon-x11.so.0:libxkbcommon-x11-0
    libxcb-cursor.so.0:libxcb-cursor0 libxcb-icccm.so.4:libxcb-icccm4
    libxcb-image.so.0:libxcb-image0 libxcb-keysyms.so.1:libxcb-keysyms1
    libxcb-randr.so.0:libxcb-randr0 libxcb-render-util.so.0:libxcb-render-util0
    libxcb-shape.so.0:libxcb-shape0 libxcb-xinerama.so.0:libxcb-xinerama0
    libxcb-xkb.so.1:libxcb-xkb1
"

# Make sure that a Qt window can open; with "virtual", also without a screen.
window_packages() {
    [ "$(uname -s)" = Linux ] || return 0
    local pair wanted=()
    for pair in $QT_LIBRARIES; do
        has_library "${pair%%:*}" || wanted+=("${pair#*:}")
    done
    [ -d /usr/share/fonts/truetype ] || wanted+=(fonts-dejavu-core)
    if [ "${1:-}" = virtual ]; then
        command -v xvfb-run >/dev/null || wanted+=(xvfb)
        command -v xauth >/dev/null || wanted+=(xauth)
        # The software renderer draws where there is no graphics card.
        compgen -G "/usr/lib/*/dri/swrast_dri.so" >/dev/null ||
            compgen -G "/usr/lib*/dri/swrast_dri.so" >/dev/null ||
            wanted+=(libgl1-mesa-dri)
    fi
    [ ${#wanted[@]} = 0 ] || apt_install "${wanted[@]}"
}

# ---------------------------------------------------------------- Python

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# Set PYTHON to the interpreter to use: the active virtual environment, or
# .venv in the repository, made when it is not there.
find_environment() {
    if [ -n "${VIRTUAL_ENV:-}" ] && new_enough "$VIRTUAL_ENV/bin/python"; then
        PYTHON=$VIRTUAL_ENV/bin/python
    else
        PYTHON=$ROOT/.venv/bin/python
        new_enough "$PYTHON" || make_environment
    fi
    "$PYTHON" -m pip --version >/dev/null 2>&1 || add_pip "$PYTHON" ||
        fail "there is no pip for $PYTHON: install the package python3-pip"
    say "Python: $PYTHON ($("$PYTHON" -V 2>&1))"
}

make_environment() {
    local candidate
    HOST_PYTHON=""
    for candidate in python3 python3.11 python3.12 python3.13 python3.14; do
        if command -v "$candidate" >/dev/null && new_enough "$candidate"; then
            HOST_PYTHON=$candidate
            break
        fi
    done
    if [ -z "$HOST_PYTHON" ]; then
        apt_install python3 python3-venv || true
        HOST_PYTHON=python3
        new_enough python3 || fail "Python 3.11 or newer is needed and not found"
    fi
    say "Making the virtual environment $ROOT/.venv"
    # Debian's python3 has venv without ensurepip: then pip comes afterwards.
    "$HOST_PYTHON" -m venv --clear "$ROOT/.venv" >/dev/null 2>&1 ||
        "$HOST_PYTHON" -m venv --clear --without-pip "$ROOT/.venv" ||
        fail "'$HOST_PYTHON -m venv' does not work: install the package python3-venv"
}

# Put pip into an environment that has none.
add_pip() {
    local host
    "$1" -m ensurepip >/dev/null 2>&1 && return 0
    for host in "${HOST_PYTHON:-python3}" /usr/bin/python3; do
        # A pip outside can install one inside.
        "$host" -m pip --python "$1" install -q pip >/dev/null 2>&1 && return 0
    done
    apt_install python3-pip || return 1
    /usr/bin/python3 -m pip --python "$1" install -q pip
}

# install_package EXTRAS: this package, editable, with the pinned versions.
# Done once for a state of pyproject.toml and constraints.txt.
install_package() {
    local stamp sum
    stamp=$("$PYTHON" -c 'import sys; print(sys.prefix)')/.napari-clickseg-${1//,/-}
    sum="$ROOT $(cat "$ROOT/pyproject.toml" "$ROOT/constraints.txt" | cksum)"
    if [ "$(cat "$stamp" 2>/dev/null)" = "$sum" ]; then
        return 0
    fi
    say "Installing napari-clickseg[$1]: some minutes, about 2 GB on disk"
    (cd "$ROOT" && "$PYTHON" -m pip install -qq --no-input \
        --disable-pip-version-check -c constraints.txt -e ".[$1]" </dev/null) ||
        fail "pip could not install the package; its message is above"
    echo "$sum" >"$stamp"
}
