"""The command line: ``napari-clickseg demo | segment | models | train | ...``.

Every command is a thin layer over the package. Nothing heavy is imported before a
command needs it: ``--help`` and ``models list`` load neither torch nor napari.

Exit codes, for scripts: see :class:`~napari_clickseg.cli.common.ExitCode`.
"""

from __future__ import annotations

from napari_clickseg.cli.main import app, main

__all__ = ["app", "main"]
