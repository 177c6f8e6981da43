"""How near a tied table is to the input and the output tables of untied runs, from the start of training to its end."""

from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes

from tietrain.report.figures import canvas
from tietrain.report.similarity import MEASURES, ROLES
from tietrain.report.tables import Finding

TITLES = {
    "cka": "debiased CKA",
    "procrustes": "cosine after the best rotation (Procrustes)",
    "neighbours": "share of ten nearest rows in common",
}
COLOURS = dict(zip(ROLES, ("#0072B2", "#D55E00"), strict=True))


def draw_similarity(findings: Sequence[Finding], name: str) -> canvas.Drawing:
    """A panel per measure for one tied arm: to both tables, and what two untied runs reach, dashed."""
    findings = [finding for finding in findings if finding.band == "all"]
    with matplotlib.rc_context(canvas.RC_PARAMS):
        figure, axes = canvas.make_panels(len(MEASURES), columns=3, panel=(3.6, 3.0), legend=1.6)
        for ax, measure in zip(axes, MEASURES, strict=True):
            _draw(ax, [finding for finding in findings if finding.measure == measure])
            ax.set_title(TITLES[measure], loc="left")
            ax.set_xlabel("share of the budget (%)")
        canvas.add_legend(figure, axes[0].get_lines())
        first = findings[0]
        caption = (
            f"Likeness of the tied table of {first.arm} to the input and the output tables of {first.untied}, runs of other seeds. "
            "Dashed: two untied runs, the most that can be expected."
        )
        return canvas.finish(figure, name, caption, [])


def _draw(ax: Axes, findings: Sequence[Finding]) -> None:
    shares = [100 * finding.point / (finding.n_points - 1) for finding in findings]
    for role, colour in COLOURS.items():
        to = [finding.found.to[role] for finding in findings]
        ceiling = [finding.found.ceiling[role] for finding in findings]
        ax.plot(shares, to, color=colour, marker="o", markersize=4, label=f"tied to {role}")
        ax.plot(shares, ceiling, color=colour, linestyle="--", label=f"two {role} tables")
    ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
