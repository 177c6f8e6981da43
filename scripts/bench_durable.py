"""What durable checkpoints and audits cost of a run of default settings, measured within the run itself."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

from tietrain.config import RunConfig
from tietrain.config.compose import compose_config
from tietrain.model import audit
from tietrain.train import checkpoint, job, loop

# Steps and settings of the runs that are measured: the default one, and one with longer steps.
RUNS = {400: (), 200: ("model=base256", "train.batch_tokens=4096")}
# What is done beside training so that nothing is lost and every tie holds: title -> (module, name) of each call.
WATCHED = {
    "checkpoints: write, sha256, fsync, rename, delete": [(loop, "save_checkpoint"), (loop, "remove_unnamed")],
    "weights of the best evaluation, the same way": [(loop, "keep_weights")],
    "last weights, the same way": [(checkpoint, "save_final")],
    "reading and comparing what a directory holds": [(loop, "resume")],
    "audits of ties and optimizer": [(loop, "audit_model"), (loop, "audit_optimizer"), (audit, "audit_model")],
}


def bench_durable(threads: int) -> None:
    """Print the share of a run's training time that goes to each part, of wall clock and of processor."""
    spent: dict[str, list[tuple[float, float]]] = {}

    def timed(title: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            wall, cpu = time.perf_counter(), time.process_time()
            try:
                return call(*args, **kwargs)
            finally:
                spent.setdefault(title, []).append((time.perf_counter() - wall, time.process_time() - cpu))

        return watched

    for title, calls in WATCHED.items():
        for module, name in calls:
            setattr(module, name, timed(title, getattr(module, name)))
    loop.fit = timed("training", loop.fit)
    for steps, words in RUNS.items():
        settings = [f"train.max_steps={steps}", f"hardware.threads={threads}", "hardware.device=cpu", *words]
        with tempfile.TemporaryDirectory() as folder:
            config = compose_config([*settings, f"run_dir={folder}/run", f"data.cache={folder}/cache"])
            ended = job.run_job(config)
        if ended.exit_code:
            raise RuntimeError(ended.message)
        _show(config, spent.pop("training")[0], spent)
        spent.clear()


def _show(config: RunConfig, training: tuple[float, float], spent: dict[str, list[tuple[float, float]]]) -> None:
    (wall, cpu), train = training, config.train
    print(
        f"durable: {config.task.name}, d_model {config.model.d_model} x {config.model.n_layers}, {train.batch_tokens} tokens per step,"
        f" {train.max_steps} steps, a checkpoint every {train.checkpoint_every}, {wall:.0f} s of training, load {os.getloadavg()[0]:.1f}"
    )
    total = [sum(part) for part in zip(*(pair for pairs in spent.values() for pair in pairs), strict=True)]
    rows = {title: (len(pairs), *map(sum, zip(*pairs, strict=True))) for title, pairs in spent.items()}
    print(f"  {'share of training, in percent':<52} calls   wall clock   processor")
    for title, (n, of_wall, of_cpu) in [*rows.items(), ("all of it", (sum(r[0] for r in rows.values()), *total))]:
        print(f"  {title:<52} {n:5}   {100 * of_wall / wall:10.2f}   {100 * of_cpu / cpu:9.2f}", flush=True)
