"""A study that takes a second: a network of two layers, its images and a space of 12 points, in files."""

import subprocess
import sys
from pathlib import Path

import numpy as np

PACKAGE = str(Path(__file__).parents[1])
"""Where the package under test lies: what runs in a process of its own is that one."""

MODEL = """
import numpy as np
from hwsim.layers import Convolution, Flatten, Linear, Relu
from hwsim.models.builder import Builder
from hwsim.network import Preprocessing


def net():
    rng = np.random.default_rng(0)
    build = Builder((1, 4, 4))
    build.add("conv", Convolution(2, (3, 3)), weight=rng.normal(size=(2, 1, 3, 3)))
    build.add("relu", Relu())
    build.add("flat", Flatten())
    build.add("out", Linear(3), weight=rng.normal(size=(3, 8, 1, 1)))
    return build.network("tiny", Preprocessing(255.0, (0.5,), (0.25,)))
"""

STUDY = """
title = "Tiny"
model = "net.py:net"
budget = 10
seed = 3

[data]
calibration = "images.npz"
calibration_images = 8
test = "images.npz"

[space]
weights = ["int3", "int4"]
activations = [4]
accumulators = ["int12"]
overflows = ["wrap"]
quantizers = ["activations=min_max", "activations=aciq_laplace", "activations=aciq_gauss"]

[hardware]
technology = "gates"
"""


def write(folder):
    """Write ``net.py``, ``images.npz`` and ``study.toml`` into a folder and return it."""
    (folder / "net.py").write_text(MODEL)
    (folder / "study.toml").write_text(STUDY)
    x = np.random.default_rng(1).integers(0, 256, (40, 4, 4), dtype=np.uint8)
    np.savez(folder / "images.npz", x=x, y=_classes(x))
    return folder


def _classes(x):
    """What the network says of the images: its float accuracy is 100%."""
    rng = np.random.default_rng(0)
    convolution, linear = rng.normal(size=(2, 3, 3)), rng.normal(size=(3, 8))
    windows = np.lib.stride_tricks.sliding_window_view((x / 255.0 - 0.5) / 0.25, (3, 3), axis=(1, 2))
    features = np.maximum(np.einsum("nhwij,cij->nchw", windows, convolution), 0).reshape(len(x), 8)
    return (features @ linear.T).argmax(axis=1)


def hwsim(*arguments, cwd, **environment):
    """Run the command line in a process of its own; text output, at most two minutes."""
    return subprocess.run(
        [sys.executable, "-c", "from hwsim.cli import main; main()", *map(str, arguments)],
        cwd=cwd,
        env={
            "PATH": "",
            "PYTHONPATH": PACKAGE,
            "HOME": str(cwd.parent),
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
