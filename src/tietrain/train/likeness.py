"""What a tied table of a language model resembles more, the output or the input table of untied models of other seeds."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from tietrain.runs.view import Run
from tietrain.train.saved import open_run

INPUT, OUTPUT, GAIN = "decoder.embed.weight", "decoder.output.weight", "decoder.final_norm.weight"


def output_likeness(folder: Path, found: Sequence[Run]) -> Callable[[Run], float | None]:
    """A measure of finished runs of a folder: likeness of a run's input table to untied output tables less that to untied inputs.

    Untied runs of the same seed are left out: they share initial values by design. Likeness is the debiased linear CKA of the
    rows of two tables; the gain of the final norm is folded into output tables. None if there is no other untied run.
    """

    @cache
    def tables(path: str) -> tuple[Tensor, Tensor]:
        model = open_run(folder / path).model
        read, written, gain = (model.tensor(slot).detach().double() for slot in (INPUT, OUTPUT, GAIN))
        return read, written * gain

    untied = [run for run in found if run.status == "done" and run.owner.get(OUTPUT) == OUTPUT]

    def measure(run: Run) -> float | None:
        others = [tables(other.path) for other in untied if other.seed != run.seed]
        own = tables(run.path)[0]
        return fmean(cka(own, written) - cka(own, read) for read, written in others) if others else None

    return measure


def cka(a: Tensor, b: Tensor) -> float:
    """Debiased linear CKA of two tables [V, D], in which rows with one index stand for one piece; 0 on average if unrelated.

    Source: Song et al. 2012, equation 5, for the unbiased HSIC; Murphy et al. 2024.
    """
    return float(_hsic(a, b) / (_hsic(a, a) * _hsic(b, b)).sqrt())


def _hsic(a: Tensor, b: Tensor) -> Tensor:
    k, m = (_without_diagonal(x @ x.T) for x in (a - a.mean(dim=0), b - b.mean(dim=0)))
    n = len(k)
    sums = k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 * (k.sum(dim=0) @ m.sum(dim=0)) / (n - 2)
    return ((k * m).sum() + sums) / (n * (n - 3))


def _without_diagonal(kernel: Tensor) -> Tensor:
    return kernel - torch.diag(kernel.diagonal())
