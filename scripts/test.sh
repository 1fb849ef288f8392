#!/usr/bin/env bash
# Install napari-clickseg with what its tests need, and run them all, those
# that open a window too. Arguments are passed on to pytest.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

missing() {
    say "Not installed, and needed by the tests that open a window: $MISSING"
    say "Install them (apt-get install $MISSING) and run this again."
}

find_environment
window_packages virtual || missing
install_package all,train,evaluate,baselines,bioimageio,onnx,test

cd "$ROOT"
run=("$PYTHON" -m pytest)
if [ -n "$MISSING" ]; then
    # Without its libraries Qt would end the whole run at the first window.
    export QT_QPA_PLATFORM=offscreen
elif command -v xvfb-run >/dev/null; then
    run=(xvfb-run -a -s "-screen 0 1600x1200x24" "${run[@]}")
    export CLICKSEG_REQUIRE_GUI=1 LIBGL_ALWAYS_SOFTWARE=1
    unset QT_QPA_PLATFORM WAYLAND_DISPLAY
fi
status=0
chosen=""
for each in "$@"; do
    [ -e "${each%%::*}" ] && chosen=yes
done
if [ -n "$chosen" ]; then
    "${run[@]}" "$@" || status=$?
else
    # Several at a time, each of which may take 3 GB; but one window after the
    # other, since only one of them has the keyboard.
    "${run[@]}" -n auto --maxprocesses 4 --dist worksteal --ignore tests/gui "$@" ||
        status=$?
    "${run[@]}" tests/gui "$@" || status=$?
fi
if [ -n "$MISSING" ]; then
    missing
    # A run that left tests out must not count as a full one.
    [ "${CI:-}" != true ] || status=1
fi
exit "$status"
