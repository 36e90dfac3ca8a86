"""The job scripts of docs/cluster_jobs.py: what SLURM, PBS and LSF read in them is what was asked for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("dask_jobqueue", reason="job scripts are written by dask-jobqueue")

SCRIPT = Path(__file__).parents[1] / "docs" / "cluster_jobs.py"
ASKED = {
    "slurm": (
        "02:00:00",
        ["#SBATCH -p long", "#SBATCH --cpus-per-task=8", "#SBATCH --mem=15G", "#SBATCH -t 02:00:00"],
    ),
    "pbs": ("02:00:00", ["#PBS -q long", "#PBS -l select=1:ncpus=8:mem=15GB", "#PBS -l walltime=02:00:00"]),
    "lsf": (
        "02:00",
        ["#BSUB -q long", "#BSUB -n 8", "#BSUB -W 02:00", '#BSUB -R "span[hosts=1]"', "#BSUB -M 16000000"],
    ),
}


@pytest.mark.parametrize("system", ASKED)
def test_a_job_script_asks_the_batch_system_for_one_worker_of_all_its_cores(system, tmp_path):
    walltime, lines = ASKED[system]
    options = ["--cores", "8", "--memory", "16GB", "--walltime", walltime, "--queue", "long"]
    done = subprocess.run(
        [sys.executable, SCRIPT, system, *options],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0] == "#!/usr/bin/env bash"
    assert set(lines) <= set(said)
    *_, limit, command = said
    assert limit == "export OMP_NUM_THREADS=1"
    assert command.startswith(f"{sys.executable} -m distributed.cli.dask_worker tcp://127.0.0.1:")
    assert "--nthreads 8" in command and "--nworkers" not in command
