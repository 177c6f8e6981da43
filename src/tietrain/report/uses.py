"""What training recorded of the gradients of shared parameters, each use apart: means over the runs of an arm."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

from tietrain.report.arms import Arm
from tietrain.runs.view import Run


@dataclass(frozen=True)
class Shared:
    """A shared block, or all that are used equally often, of an arm.

    name: of the block, or a description of several. uses: what reads it; empty of several blocks. blocks: their names.
    """

    name: str
    uses: tuple[str, ...]
    n_uses: int
    blocks: tuple[str, ...]


def shared_of(arm: Arm) -> list[Shared]:
    """What an arm's looks tell of: each shared table by itself, other blocks by their number of uses."""
    uses: dict[str, list[str]] = {}
    for name in next((look for run in arm.done for look in run.anatomy), {}):
        block, _, rest = name.partition("/")
        measure, _, use = rest.partition("/")
        if measure == "norm":
            uses.setdefault(block, []).append(use)
    tables = [Shared(block, tuple(found), len(found), (block,)) for block, found in uses.items() if is_table(block)]
    by_number: dict[int, list[str]] = {}
    for block, found in uses.items():
        if not is_table(block):
            by_number.setdefault(len(found), []).append(block)
    return tables + [
        Shared(f"{len(blocks)} blocks of layers, {n} uses", (), n, tuple(blocks)) for n, blocks in by_number.items()
    ]


def is_table(block: str) -> bool:
    """Whether a block is that of tokens or positions, and not of a layer."""
    return block.rpartition(".")[2] in ("embed", "output", "positions")


def course(arm: Arm, shared: Shared, measure: str, use: str = "") -> dict[int, float]:
    """Step of a look -> a measure, mean over blocks and finished runs; steps at which some run has none are left out."""
    names = [f"{block}/{measure}/{use}" if use else f"{block}/{measure}" for block in shared.blocks]
    by_run = [_by_step(run, names) for run in arm.done if run.anatomy]
    common = set.intersection(*(set(found) for found in by_run)) if by_run else set()
    return {step: fmean(found[step] for found in by_run) for step in sorted(common)}


def _by_step(run: Run, names: Iterable[str]) -> dict[int, float]:
    names = list(names)
    found = {}
    for look in run.anatomy:
        values = [look[name] for name in names if name in look]
        if "of_step" in look and values:
            found[int(look["of_step"])] = fmean(values)
    return found


def shares(arm: Arm, shared: Shared, measure: str = "norm") -> Mapping[str, dict[int, float]]:
    """Use -> step -> its part of the sum of all uses' norms."""
    norms = {use: course(arm, shared, measure, use) for use in shared.uses}
    steps = set.intersection(*(set(found) for found in norms.values())) if norms else set()
    sums = {step: sum(found[step] for found in norms.values()) for step in steps}
    return {
        use: {step: found[step] / sums[step] for step in sorted(steps) if sums[step]} for use, found in norms.items()
    }


def share_clipped(arm: Arm) -> float | None:
    """Part of the looks whose step was clipped; None without looks."""
    factors = [look["clip"] for run in arm.done for look in run.anatomy if "clip" in look]
    return sum(factor < 1 for factor in factors) / len(factors) if factors else None
