"""The tutorial notebook runs, and says what it says in the repository."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("nbmake", reason="notebooks are run with nbmake")
NOTEBOOK = Path(__file__).parents[1] / "docs" / "tutorial.ipynb"


def said(path):
    """What each cell of a notebook printed."""
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    return ["".join(line for output in cell["outputs"] for line in output["text"]) for cell in cells]


def test_the_tutorial_says_what_it_said(tmp_path):
    copy = tmp_path / "tutorial.ipynb"
    shutil.copy(NOTEBOOK, copy)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--nbmake",
        "--overwrite",
        "--nbmake-timeout=200",
        str(copy),
    ]
    environment = os.environ | {
        "PYTHONPATH": str(NOTEBOOK.parents[1]),
        "HWSIM_CACHE": str(tmp_path / "cache"),
    }
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:]
    assert said(copy) == said(NOTEBOOK)
    assert any("overflows in cycle" in text for text in said(copy))
