"""Finished samples of a run, on disk, so that a stopped run goes on.

Every finished sample is one line of ``samples.jsonl`` in the output folder: a run
that was stopped loses at most the samples in hand. ``run.json`` says with which
settings the lines were made; lines of other settings are never mixed in.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

from napari_clickseg.errors import DatasetError
from napari_clickseg.evaluation.metrics import SampleResult
from napari_clickseg.limits import DAMAGE

if TYPE_CHECKING:
    from pathlib import Path

#: Entries of a signature with the settings of each method under its name: a method
#: may be added to a run later, and its own settings must stay the same.
BY_METHOD = frozenset({"refinements"})


class ResultLog:
    """The finished samples of a run, on disk.

    Parameters
    ----------
    folder : Path
        Where ``run.json`` and ``samples.jsonl`` lie.
    signature : dict
        Everything the numbers depend on.
    restart : bool
        Throw away what is there.

    Raises
    ------
    DatasetError
        The folder holds a run with another signature.
    """

    #: What a line holds: has ``method``, ``name``, ``to_json`` and ``from_json``.
    kind: ClassVar[Any] = SampleResult

    def __init__(
        self, folder: Path, signature: dict[str, Any], *, restart: bool = False
    ) -> None:
        self.folder = folder
        self.signature = signature
        self.path = folder / "samples.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        head = folder / "run.json"
        if restart:
            self.path.unlink(missing_ok=True)
            head.unlink(missing_ok=True)
        if not head.is_file():
            self.path.unlink(missing_ok=True)  # lines of unknown settings
        self.results = self._read()
        merged = signature
        if self.results:
            stored = _stored(head)
            self._compare(stored, signature)
            # What was measured before stays on record beside what is new.
            merged = {
                **signature,
                **{
                    key: {**stored.get(key, {}), **signature[key]}
                    for key in BY_METHOD & signature.keys()
                },
            }
        write_text(head, json.dumps(merged, indent=2) + "\n")

    def _compare(self, stored: dict[str, Any], signature: dict[str, Any]) -> None:
        flat, wanted = (
            _flatten(_shared(stored, signature)),
            _flatten(_shared(signature, stored)),
        )
        differing = [
            f"{key} {flat.get(key)!r}, now {wanted.get(key)!r}"
            for key in sorted(flat.keys() | wanted.keys())
            if flat.get(key) != wanted.get(key)
        ]
        if differing:
            raise DatasetError(
                f"{self.folder} holds results of other settings "
                f"({'; '.join(differing)}). Choose another --out, or start over with "
                "--restart."
            )

    def _read(self) -> dict[tuple[str, str], SampleResult]:
        results: dict[tuple[str, str], SampleResult] = {}
        if not self.path.is_file():
            return results
        whole = []
        for line in self.path.read_text("utf-8", errors="replace").splitlines():
            try:
                result = self.kind.from_json(json.loads(line))
                results[result.method, result.name] = result
            except DAMAGE:
                continue  # the line that was being written when the run stopped
            whole.append(line)
        # Appending to half a line would spoil the next one, too.
        write_text(self.path, "".join(f"{line}\n" for line in whole))
        return results

    def add(self, result: SampleResult) -> None:
        """Append one finished sample; it is on disk when this returns."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result.to_json()) + "\n")
        self.results[result.method, result.name] = result


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step: old or new, never half of it."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _stored(path: Path) -> dict[str, Any]:
    """Return the settings that a run was begun with."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(stored, dict):
            raise ValueError("no settings")
        if not all(isinstance(stored.get(key, {}), dict) for key in BY_METHOD):
            raise ValueError("no settings of methods")
    except DAMAGE as error:
        raise DatasetError(
            f"{path} is damaged ({type(error).__name__}), so nobody knows what the "
            "results beside it are of. Choose another --out, or start over with "
            "--restart."
        ) from None
    return stored


def _shared(values: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Leave out methods that only one of two signatures names."""
    return {
        key: {name: value[name] for name in value if name in other.get(key, {})}
        if key in BY_METHOD and isinstance(value, dict)
        else value
        for key, value in values.items()
    }


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
