"""How long the command line takes to answer: the median of 11 runs each.

python tests/benchmarks/start_time.py
"""

import statistics
import subprocess
import sys
import time

MAIN = "import sys; sys.argv = {!r}; from hwsim.cli import main; main()"
STARTS = {
    "python": "pass",
    "import hwsim": "import hwsim",
    "hwsim --help": MAIN.format(["hwsim", "--help"]),
    "hwsim list models": MAIN.format(["hwsim", "list", "models"]),
    "hwsim list": MAIN.format(["hwsim", "list"]),
}


def seconds(script):
    """The time a script takes in a Python process of its own."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", script], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    for name, script in STARTS.items():
        print(f"{name:18} {1000 * statistics.median(seconds(script) for _ in range(11)):6.0f} ms")
