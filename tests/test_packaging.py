"""The package as users get it: wheel, sdist, editable; its manifest and pins."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAME = PROJECT["name"]

# What npe2 sees in a fresh interpreter: the manifest, and the file of the
# package that it belongs to.
ASK = """
import importlib.metadata, json, sys
import npe2
manager = npe2.PluginManager()
manager.discover()
found = [m.name for m in manager.iter_manifests() if m.name == "napari-clickseg"]
manifest = manager.get_manifest("napari-clickseg")
import napari_clickseg
assert "torch" not in sys.modules, "discovery imported torch"
print(json.dumps({
    "count": len(found),
    "version": manifest.package_version,
    "file": napari_clickseg.__file__,
    "commands": [c.id for c in manifest.contributions.commands],
    "widgets": [w.display_name for w in manifest.contributions.widgets],
    "samples": [s.key for s in manifest.contributions.sample_data],
}))
"""


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command with an environment of its own; its output on failure."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    result = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=env | {"PYTHONWARNINGS": "ignore", "PIP_NO_INDEX": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the files that git knows, so that building leaves no trace."""
    target = tmp_path_factory.mktemp("source") / "repository"
    try:
        names = run("git", "ls-files", "-z", "-co", "--exclude-standard", cwd=ROOT)
    except (AssertionError, FileNotFoundError):
        shutil.copytree(ROOT, target, symlinks=True)
        return target
    for name in filter(None, names.split("\0")):
        file = ROOT / name
        if file.is_symlink() or file.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target / name, follow_symlinks=False)
    return target


@pytest.fixture(scope="session")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A wheel of the source, an sdist, and the wheel that the sdist makes."""
    direct, via = (tmp_path_factory.mktemp(n) for n in ("direct", "via"))
    build = [sys.executable, "-m", "build", "--no-isolation"]
    run(*build, "--wheel", "--outdir", direct, source)
    run(*build, "--outdir", via, source)  # the sdist, and a wheel from it
    return {
        "wheel": next(direct.glob("*.whl")),
        "sdist": next(via.glob("*.tar.gz")),
        "sdist-wheel": next(via.glob("*.whl")),
    }


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A virtual environment with all that is installed here but ourselves."""
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    site = run(
        python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"
    ).strip()
    here = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    for entry in (e for path in here for e in Path(path).iterdir()):
        own = re.match(r"_?(_editable_impl_)?napari[-_]clickseg", entry.name)
        if not own and not entry.name.startswith("__"):
            (Path(site) / entry.name).symlink_to(entry)
    return python


def install(python: Path, *what: str | Path) -> None:
    """Install without looking anything up."""
    run(
        *(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps"),
        *("--no-build-isolation", "--disable-pip-version-check", *what),
    )


@pytest.mark.parametrize("kind", ["wheel", "sdist", "editable"])
def test_npe2_finds_every_installation(kind, built, source, environment, tmp_path):
    if kind == "editable":
        install(environment, "-e", source)
    else:
        install(environment, built[kind])
    seen = json.loads(run(environment, "-c", ASK, cwd=tmp_path))
    assert seen["count"] == 1
    assert "Click segmentation" in seen["widgets"]
    assert seen["samples"]
    import napari_clickseg

    assert seen["version"] == napari_clickseg.__version__
    place = source if kind == "editable" else environment.parents[1]
    assert Path(seen["file"]).is_relative_to(place)


def test_manifest_is_valid(tmp_path, environment, built):
    install(environment, built["wheel"])
    run(environment, "-m", "npe2", "validate", NAME, cwd=tmp_path)


def test_wheel_and_sdist_hold_what_they_should(built, source):
    wheels = []
    for kind in ("wheel", "sdist-wheel"):
        with zipfile.ZipFile(built[kind]) as archive:
            wheels.append({n: archive.getinfo(n).CRC for n in archive.namelist()})
    ours = [{n: c for n, c in w.items() if "dist-info" not in n} for w in wheels]
    assert ours[0] == ours[1], "the sdist makes another wheel than the source"
    package = source / "src" / "napari_clickseg"
    data = {".py", ".yaml", ".toml", ".safetensors", ".typed", ".npz", ".png"}
    for file in package.rglob("*"):
        if file.suffix in data or file.name == "NOTICE":
            assert f"napari_clickseg/{file.relative_to(package).as_posix()}" in ours[0]
    assert not [n for n in ours[0] if not n.startswith("napari_clickseg/")]
    # 10 MB at most for the weights of one model; there are two.
    assert built["wheel"].stat().st_size < 30e6

    with tarfile.open(built["sdist"]) as archive:
        names = {n.split("/", 1)[-1] for n in archive.getnames()}
    assert {"napari.yaml", "constraints.txt", "LICENSE", "tests/conftest.py"} <= names


def test_root_manifest_is_the_package_manifest():
    link, real = ROOT / "napari.yaml", ROOT / "src/napari_clickseg/napari.yaml"
    if link.is_symlink():
        assert link.resolve() == real.resolve()
    else:  # a checkout without the right to make links writes the target's name
        assert link.read_text() in {real.read_text(), "src/napari_clickseg/napari.yaml"}


def closure(names: list[str]) -> set[str]:
    """Names of the requirements, without those of any extra."""
    return {canonicalize_name(Requirement(n).name) for n in names}


def test_runtime_dependencies_bring_no_qt_and_no_torchvision():
    runtime = closure(PROJECT["dependencies"])
    bindings = {"pyqt5", "pyqt6", "pyside2", "pyside6", "pyside6-essentials"}
    assert not runtime & (bindings | {"torchvision", "timm"})
    assert not any(Requirement(n).extras for n in PROJECT["dependencies"])
    everything = runtime.union(*map(closure, PROJECT["optional-dependencies"].values()))
    assert "torchvision" not in everything
    assert PROJECT["optional-dependencies"]["all"] == ["napari[all]"]
    assert "Framework :: napari" in PROJECT["classifiers"]


def test_every_dependency_is_imported_and_every_import_declared():
    """What pyproject.toml asks for at run time, and what the code imports."""
    code = "\n".join(
        file.read_text() for file in (ROOT / "src" / "napari_clickseg").rglob("*.py")
    )
    imported = set(re.findall(r"^\s*(?:import|from) (\w+)", code, re.MULTILINE))
    module_of = {
        "pillow": "PIL",
        "pyyaml": "yaml",
        "scikit-image": "skimage",
        "opencv-python-headless": "cv2",
        "lightning-fabric": "lightning_fabric",
        "bioimageio-core": "bioimageio",
        "bioimageio.core": "bioimageio",
    }
    runtime = {module_of.get(n, n) for n in closure(PROJECT["dependencies"])}
    # napari registers the manifest with npe2; nothing of ours imports it.
    assert runtime - imported <= {"npe2"}, "declared and never imported"
    optional = {
        module_of.get(n, n)
        for extra in PROJECT["optional-dependencies"]
        for n in closure(PROJECT["optional-dependencies"][extra])
    }
    known = runtime | optional | set(sys.stdlib_module_names) | {"napari_clickseg"}
    # Used where they are, never needed: inputs of the user, and what napari brings.
    assert imported - known <= {"dask", "zarr", "psutil"}, "imported and not declared"


def pins(file: str) -> dict[str, str]:
    """Name to version of a constraints file; every line must be exact."""
    lines = (ROOT / file).read_text().splitlines()
    entries = [Requirement(x) for x in lines if x.strip() and not x.startswith("#")]
    assert all(str(r.specifier).startswith("==") for r in entries)
    return {canonicalize_name(r.name): str(r.specifier)[2:] for r in entries}


@pytest.mark.parametrize("file", ["constraints.txt", "constraints-lowest.txt"])
def test_constraints_pin_every_direct_dependency(file):
    pinned = pins(file)
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for requirement in (Requirement(r) for group in groups for r in group):
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement


def test_every_documented_installation_uses_the_constraints():
    places = [ROOT / "README.md", ROOT / ".ci" / "run"]
    places += [*(ROOT / "docs").rglob("*.md"), *(ROOT / "scripts").glob("*.sh")]
    # Prose may name the command; an installation names what and how.
    names_what = re.compile(r"pip install .*(-e|--group|\[|napari)")
    commands = [
        (place.name, line.strip())
        for place in places
        for line in place.read_text().replace("\\\n", " ").splitlines()
        if names_what.search(line)
    ]
    assert commands
    assert not [c for c in commands if "-c constraints.txt" not in c[1]]


def test_readme_commands_are_there():
    readme = (ROOT / "README.md").read_text()
    for script in ("scripts/demo.sh", "scripts/test.sh"):
        assert f"bash {script}" in readme
        run("bash", "-n", ROOT / script)


def test_readme_example_runs():
    readme = (ROOT / "README.md").read_text()
    names: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", readme, re.DOTALL)[0], names)
    session = names["session"]
    assert names["label"] == 1
    assert session.labels[110, 225] == 1
    assert 0.01 < (session.labels == 1).mean() < 0.5
