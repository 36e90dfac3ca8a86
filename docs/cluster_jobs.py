"""Start a Dask scheduler here and its workers as jobs of a batch system, for ``hwsim explore --cluster``.

    python docs/cluster_jobs.py slurm --cores 8 --memory 16GB --walltime 02:00:00          # prints the job script
    python docs/cluster_jobs.py slurm --cores 8 --memory 16GB --walltime 02:00:00 --jobs 4 # submits it four times

A job is one worker that evaluates as many design points at a time as it has cores. The scheduler lives until this program
is interrupted. docs/cluster.md says what to think of before it listens on a network.
"""

import argparse
import signal
import sys

import dask_jobqueue

SYSTEMS = {
    "slurm": dask_jobqueue.SLURMCluster,
    "pbs": dask_jobqueue.PBSCluster,
    "lsf": dask_jobqueue.LSFCluster,
}


def cluster(system, *, cores, memory, walltime, queue=None, interface=None, protocol="tcp"):
    """Return the scheduler of a batch system's workers, none of which is submitted yet."""
    return SYSTEMS[system](
        cores=cores,
        processes=1,  # a worker a job: hwsim starts a process for each of its threads
        memory=memory,
        walltime=walltime,
        queue=queue,
        interface=interface,
        protocol=protocol,
        python=sys.executable,
        job_script_prologue=["export OMP_NUM_THREADS=1"],
        scheduler_options={"dashboard": False, "host": None if interface else "127.0.0.1"},
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("system", choices=SYSTEMS)
    parser.add_argument("--cores", type=int, default=4, help="design points that a job evaluates at a time")
    parser.add_argument("--memory", default="8GB")
    parser.add_argument("--walltime", help="as the batch system writes it: 02:00:00, for LSF 02:00")
    parser.add_argument("--queue")
    parser.add_argument("--interface", help="the network of the nodes, ib0 say; loopback without it")
    parser.add_argument("--protocol", choices=("tcp", "tls"), default="tcp")
    parser.add_argument("--jobs", type=int, default=0, help="jobs to submit; none prints the script")
    given = vars(parser.parse_args())
    jobs = given.pop("jobs")
    with cluster(**given) as started:
        if not jobs:
            print(started.job_script(), end="")
            return
        started.scale(jobs=jobs)
        print(f"hwsim explore STUDY -o FOLDER --cluster {started.scheduler_address}", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main()
