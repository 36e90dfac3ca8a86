"""How far an ONNX file agrees with integer inference: run in onnxruntime, where that is installed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from hwsim.bundle.onnx_graph import PIXELS, scores_scale
from hwsim.network import Images, QuantizedNetwork
from hwsim.simulate.inference import run


@dataclass(frozen=True)
class Agreement:
    """Scores and predictions of an ONNX file that are those of the integer network, of all over some images.

    ``furthest`` is the largest difference of a score, in steps of the network's last integers.
    """

    images: int
    scores: int
    same_scores: int
    same_predictions: int
    furthest: int

    def __str__(self) -> str:
        return (
            f"{self.same_scores} of {self.scores} scores and {self.same_predictions} of {self.images} predictions are "
            f"those of the integer network; no score is further off than {self.furthest} steps"
        )


def measure_agreement(model: bytes, network: QuantizedNetwork, images: Images) -> Agreement | None:
    """Return how far a QDQ file agrees with its network on images [n, h, w, c], or None without onnxruntime."""
    if find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {PIXELS: np.ascontiguousarray(np.moveaxis(images, 3, 1))})
    found, expected = np.rint(scores / scores_scale(network)).astype(np.int64), run(network, images)
    return Agreement(
        len(images),
        expected.size,
        int((found == expected).sum()),
        int((found.argmax(axis=1) == expected.argmax(axis=1)).sum()),
        int(np.abs(found - expected).max()),
    )
