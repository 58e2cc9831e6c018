"""Build the source archive and the wheel, look into both, and use the wheel in an environment that has nothing else.

python packaging/check_dist.py [--out dist] [--python python3]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
NEEDED = ("fewlabels/py.typed", "fewlabels/report/templates/report.html.j2")
UNWANTED = re.compile(r"(^|/)(tests?|benchmarks|docs|site|runs|packaging|container)/|\.(png|parquet|npz)$")
COMMANDS = (
    ["--help"],
    ["methods"],
    ["compare", "digits", "--methods", "supervised,self-training", "--steps", "5", "--out", "run", "--quiet"],
    ["fit", "digits", "--method", "supervised", "--steps", "5", "--out", "model", "--quiet"],
    ["evaluate", "model", "digits", "--json"],
)


def main() -> None:
    """Run all checks; the first that fails ends it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    out = parser.parse_args().out.resolve()
    shutil.rmtree(out, ignore_errors=True)
    # The wheel is built from the source archive: what that lacks shows here.
    run([sys.executable, "-m", "build", "--outdir", out, ROOT])
    (wheel,), (source,) = out.glob("*.whl"), out.glob("*.tar.gz")
    run([sys.executable, "-m", "twine", "check", "--strict", wheel, source])
    look_into(wheel, source)
    with tempfile.TemporaryDirectory(prefix="fewlabels-dist-") as place:
        use(wheel, Path(place))
    print(f"{wheel.name} ({wheel.stat().st_size / 1e3:,.0f} kB) and {source.name} are good")


def look_into(wheel: Path, source: Path) -> None:
    """Check that a wheel holds the package, all of it, and nothing else; and that the archive has no tests in part."""
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.py")}
    assert not (missing := (modules | set(NEEDED)) - names), f"the wheel lacks {sorted(missing)}"
    stray = [name for name in names if not re.match(r"fewlabels(-[^/]+\.dist-info)?/", name) or UNWANTED.search(name)]
    assert not stray, f"the wheel holds {stray}"
    with tarfile.open(source) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"} <= inside, sorted(inside)
    stray = [name for name in inside if UNWANTED.search(name)]
    assert not stray, f"the source archive holds {stray}"


def use(wheel: Path, place: Path) -> None:
    """Install a wheel with what it needs and no more, and do with it what the README begins with."""
    venv.create(place / "env", with_pip=True)
    binaries = place / "env" / ("Scripts" if sys.platform == "win32" else "bin")
    python, pins = binaries / "python", ROOT / "requirements.txt"
    torch = re.search(r"^torch==\S+", pins.read_text(encoding="utf-8"), re.MULTILINE)
    assert torch, "requirements.txt pins no torch"
    run([python, "-m", "pip", "install", "--quiet", torch[0]])
    # What is pinned with its extras is not for this installation, and pip takes no extras in constraints.
    constraints = place / "constraints.txt"
    constraints.write_text(re.sub(r"\[.*?\]", "", pins.read_text(encoding="utf-8")), encoding="utf-8")
    run([python, "-m", "pip", "install", "--quiet", "--constraint", constraints, wheel])
    run([python, "-m", "pip", "check"])
    # From elsewhere: the source folder must not be what is imported.
    code = "import fewlabels, sys; print(fewlabels.__version__, fewlabels.__file__); sys.exit('torch' in sys.modules)"
    run([python, "-c", code], cwd=place)
    for words in COMMANDS:
        run([binaries / "fewlabels", *words], cwd=place, quiet=True)
    assert (place / "run" / "report.html").stat().st_size > 10_000
    refused = subprocess.run([binaries / "fewlabels", "pull", "jane/birds"], cwd=place, capture_output=True, text=True)
    assert "pip install 'fewlabels[hub]'" in refused.stderr, refused.stderr
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert example, "README.md has no Python example"
    (place / "example.py").write_text(example[1], encoding="utf-8")
    run([python, "-W", "error::SyntaxWarning", "example.py"], cwd=place)
    assert (place / "model" / "model.safetensors").exists()


def run(command: list[object], *, cwd: Path | None = None, quiet: bool = False) -> None:
    """Run a command without this checkout on its path; its failure is ours."""
    words = [str(word) for word in command]
    print("$", " ".join(words), flush=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(words, cwd=cwd, env=environment, check=True, stdout=subprocess.DEVNULL if quiet else None)


if __name__ == "__main__":
    main()
