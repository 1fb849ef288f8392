#!/usr/bin/env bash
# Install napari-clickseg and show what it does.
#
# With a display: napari opens with a sample image and the dock. Without one:
# the same clicks are made headless, and pictures are written. Arguments are
# passed on to `napari-clickseg demo` (try --help).
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

find_environment
if [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
    window_packages ||
        say "napari may not open: these system packages are missing: $MISSING"
fi
install_package all
exec "$PYTHON" -m napari_clickseg.cli demo "$@"
