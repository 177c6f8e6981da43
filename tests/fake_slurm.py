"""A Slurm of this host alone: sbatch, srun, scontrol and sacct run the jobs of a script as processes, and begin them again."""

import os
import re
import subprocess
import sys
from pathlib import Path

COMMANDS = ("sbatch", "srun", "scontrol", "sacct")
# Where the state of the jobs is; each task that runs has a file, which names its process.
STATE = "FAKE_SLURM"


def install(folder: Path) -> dict[str, str]:
    """Make the commands in a folder; returns the variables with which they are found."""
    folder.mkdir()
    for name in COMMANDS:
        (folder / name).write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {name} "$@"\n')
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}", STATE: str(folder)}


def sbatch(state: Path, script: str) -> None:
    """Run every element of an array beside the others, until none asks to begin again."""
    text = Path(script).read_text()
    kept = state / "script"
    kept.write_text(text)
    array = re.search(r"^#SBATCH --array=0-(\d+)%", text, re.M)
    for element in range(int(array[1]) + 1) if array else [None]:
        command = [sys.executable, __file__, "job", str(kept), str(element)]
        with open(state / f"batch-7_{element}.log", "a") as log:
            subprocess.Popen(command, start_new_session=True, stdout=log, stderr=log)
    print("Submitted batch job 7")


def job(state: Path, script: str, element: str) -> None:
    """Run one job to its end."""
    text = Path(script).read_text()
    name = f"7_{element}"
    tasks = re.search(r"^#SBATCH --ntasks-per-node=(\d+)", text, re.M)
    variables = {"SLURM_JOB_ID": f"10{element}", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": element}
    variables |= {"SLURM_NTASKS": tasks[1], "SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_NODELIST": "localhost"}
    again = state / f"requeue-{name}"
    while True:
        subprocess.run(["bash", script], env=os.environ | variables)
        if not again.exists():
            break
        again.unlink()
    (state / f"ended-{name}").touch()


def srun(state: Path, *words: str) -> None:
    """Run the tasks of a job at once, and wait for all."""
    element = os.environ["SLURM_ARRAY_TASK_ID"]
    name = f"7_{element}"
    output, error = words[words.index("--output") + 1], words[words.index("--error") + 1]
    command = words[words.index("--error") + 2 :]
    tasks = []
    for rank in range(int(os.environ["SLURM_NTASKS"])):
        variables = {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank), "SLURM_NODEID": "0"}
        paths = [p.replace("%A", "7").replace("%a", element).replace("%t", str(rank)) for p in (output, error)]
        Path(paths[0]).parent.mkdir(exist_ok=True)  # submitit makes it after it has submitted
        with open(paths[0], "a") as out, open(paths[1], "a") as err:
            task = subprocess.Popen(command, env=os.environ | variables, stdout=out, stderr=err)
        (state / f"task-{name}-{rank}").write_text(str(task.pid))
        tasks.append(task)
    codes = [task.wait() for task in tasks]
    for rank in range(len(tasks)):
        (state / f"task-{name}-{rank}").unlink()
    sys.exit(max(code % 256 for code in codes))


def scontrol(state: Path, verb: str, name: str) -> None:
    """Note that a job shall begin again when it has ended."""
    assert verb == "requeue"
    (state / f"requeue-{name}").touch()


def sacct(state: Path, *words: str) -> None:
    """Say which jobs run."""
    print("JobID|State|NodeList")
    for path in state.glob("batch-*.log"):
        name = path.stem.removeprefix("batch-")
        print(f"{name}|{'COMPLETED' if (state / f'ended-{name}').exists() else 'RUNNING'}|localhost")


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(os.environ[STATE]), *sys.argv[2:])
