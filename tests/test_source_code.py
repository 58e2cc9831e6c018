"""What the command line reads from the source is what importing would give."""

from __future__ import annotations

import subprocess
import sys

import pytest

import fewlabels
from fewlabels.cli.source_code import ideas_of_methods, names_in
from fewlabels.data import list_datasets
from fewlabels.evaluation.conditions import VARIED
from fewlabels.export.deployed import FORMATS
from fewlabels.methods.rungs import RUNGS
from fewlabels.nets import NETS
from fewlabels.tracking import TRACKERS


def test_names_are_those_of_the_modules():
    assert names_in("methods.registry", "_ALL") == list(fewlabels.METHODS)
    assert names_in("data.sources", "_KNOWN") == [known.name for known in list_datasets()]
    assert names_in("nets.registry", "NETS") == list(NETS)
    assert names_in("methods.rungs", "RUNGS") == list(RUNGS)
    assert names_in("tracking.tracked", "TRACKERS") == list(TRACKERS)
    assert names_in("export.deployed", "FORMATS") == list(FORMATS)
    assert names_in("evaluation.conditions", "VARIED") == list(VARIED)
    with pytest.raises(ValueError, match="has no NOTHING"):
        names_in("nets.registry", "NOTHING")


def test_the_idea_of_a_method_is_the_first_line_of_its_docstring():
    told = {name: method.__doc__.strip().splitlines()[0] for name, method in fewlabels.METHODS.items()}
    assert list(ideas_of_methods().items()) == list(told.items())


def test_listing_the_methods_does_not_wait_for_torch():
    code = "import sys; from fewlabels.cli import app; app(['methods'], standalone_mode=False)"
    code += "; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "fix-match" in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["methods", "magic"], "unknown method 'magic' (known: auto, supervised,"),
        (["fit", "--method", "magic"], "unknown method 'magic'"),
        (["compare", "--methods", "supervised,magic"], "unknown method 'magic'"),
        (["predict", "nowhere", "x.png"], "there is no model folder at nowhere"),
        (["evaluate", "nowhere"], "there is no model folder at nowhere"),
        (["label", "nowhere"], "there is no model folder at nowhere"),
        (["predict", "runs", "x.png"], "runs is a comparison, not a model; its models are in runs/models/"),
        (["label", "runs"], "runs is a comparison, not a model; its models are in runs/models/"),
        (["report", "nowhere"], "nowhere is no folder; give the one that `fewlabels compare --out` wrote"),
        (["check", "nowhere"], "there is no data set, folder or file 'nowhere'"),
        (["check", "--image-size", "2"], "image_size=2 is not a whole number of 4 to 1024 pixels"),
    ],
)
def test_a_wrong_name_is_told_without_waiting_for_torch(words, message, tmp_path):
    (tmp_path / "runs" / "models" / "supervised").mkdir(parents=True)
    (tmp_path / "runs" / "models" / "supervised" / "config.json").touch()
    code = f"""import sys; from fewlabels.cli import main; sys.argv = ["fewlabels", *{words}]
try:
    main()
finally:
    print("torch" in sys.modules or "sklearn" in sys.modules)"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert told.returncode == 2
    assert message in told.stderr
    assert told.stdout == "False\n"
