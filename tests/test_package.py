import ast
import importlib
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fewlabels
from fewlabels.storage.errors import InputError, Interrupted
from fewlabels.training.recovery import Diverged

SOURCE = Path(fewlabels.__file__).parent
ROOT = Path(__file__).parents[1]
ORDER = [
    "storage",
    "data",
    "checks",
    "views",
    "nets",
    "training",
    "methods",
    "labeling",
    "evaluation",
    "tracking",
    "report",
    "export",
    "serving",
]


@pytest.mark.parametrize("folder", ORDER)
def test_a_folder_imports_only_from_those_before_it(folder):
    allowed = set(ORDER[: ORDER.index(folder) + 1])
    for path in (SOURCE / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fewlabels."):
                assert node.module.split(".")[1] in allowed, f"{path.name} imports {node.module}"


def test_every_public_name_is_there_and_documented():
    for name in fewlabels.__all__:
        assert getattr(fewlabels, name).__doc__
    with pytest.raises(AttributeError):
        _ = fewlabels.nonsense


def test_what_goes_wrong_in_another_process_is_told_as_it_was():
    sent = []
    for path in SOURCE.rglob("*.py"):
        for kind in re.findall(r"^class (\w+)\(\w*(?:Error|Exception|Warning)\)", path.read_text(), re.MULTILINE):
            name = ".".join(("fewlabels", *path.relative_to(SOURCE).with_suffix("").parts))
            sent.append(getattr(importlib.import_module(name), kind))
    assert {InputError, Interrupted, Diverged} < set(sent)
    made = [kind("why") for kind in sent if kind is not Diverged]
    made += [Diverged("why", "advice", [1], []), Interrupted("why", code=143, folder=Path("kept"))]
    for error in made:
        told = pickle.loads(pickle.dumps(error))
        assert (type(told), str(told), vars(told)) == (type(error), str(error), vars(error))


def test_help_needs_no_torch():
    code = "import sys; import fewlabels.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_fit_loads_nothing_that_draws(tmp_path):
    words = ["fewlabels", "fit", "digits", "--steps=1", "--labels-per-class=2", "--method=supervised"]
    words += ["--quiet", "--set=validation_fraction=0", f"--out={tmp_path / 'model'}"]
    code = f"import atexit, sys; sys.argv = {words}; from fewlabels.cli.main import main; "
    code += "atexit.register(lambda: print('matplotlib' in sys.modules)); main()"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.endswith("False\n")


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_pip_takes_the_constraints_of_a_container(kind, tmp_path):
    text = (ROOT / "container" / f"{kind}.Containerfile").read_text()
    (made,) = re.findall(r"^RUN (sed .*?) requirements.txt > constraints.txt", text, re.MULTILINE)
    constraints = tmp_path / "constraints.txt"
    with constraints.open("w") as file:
        subprocess.run(["bash", "-c", f"{made} requirements.txt"], cwd=ROOT, stdout=file, check=True)
    # Without an index nothing is found; what cannot be a constraint is told before that.
    words = [sys.executable, "-m", "pip", "install", "--no-index", "--constraint", constraints, "no-such-package"]
    told = subprocess.run(words, capture_output=True, text=True).stderr
    assert "No matching distribution found for no-such-package" in told
    assert "onstraint" not in told
