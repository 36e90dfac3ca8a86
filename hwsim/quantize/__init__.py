"""Quantization: calibration, one published method a file, and the way to a network of integers."""

from hwsim.quantize.calibrate import Calibration, calibrate
from hwsim.quantize.fold import fold_batch_norm
from hwsim.quantize.integer import quantize
from hwsim.quantize.settings import QUANTIZERS, Quantizer, Settings
from hwsim.quantize.statistics import Statistics

__all__ = [
    "Calibration",
    "QUANTIZERS",
    "Quantizer",
    "Settings",
    "Statistics",
    "calibrate",
    "fold_batch_norm",
    "quantize",
]
