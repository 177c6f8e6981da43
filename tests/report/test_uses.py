"""What the report makes of looks at gradients by use: means over runs, shares, first and last look."""

import pytest

from fabricated import make_config, write_run
from tietrain.report.arms import compare, make_arms
from tietrain.report.figures.canvas import ArmStyles
from tietrain.report.figures.uses import draw_uses
from tietrain.report.pages.uses_text import uses_rows, uses_text
from tietrain.report.uses import course, share_clipped, shared_of, shares
from tietrain.runs.metrics import append_metrics
from tietrain.runs.view import collect

TABLE = "decoder.embed"


def look(step, embed, output, clip=1.0, **layers):
    seen = {f"{TABLE}/norm/decoder.embed": embed, f"{TABLE}/norm/decoder.output": output, f"{TABLE}/cosine": 0.25}
    for layer, cancellation in layers.items():
        block = f"decoder.{layer[1:]}.ffn"
        seen |= {
            f"{block}/norm/{block}": 1.0,
            f"{block}/norm/decoder.9.ffn": 1.0,
            f"{block}/cancellation": cancellation,
        }
    where = {"step": step + 1, "tokens": 0, "flops": 0, "seconds": 0.0, "split": "anatomy", "of_step": step}
    return where | {"clip": clip} | seen


@pytest.fixture
def comparison(tmp_path):
    """Two seeds that looked at steps 0 and 50, one of them at 100 too; the baseline never did."""
    for seed in (1, 2):
        write_run(tmp_path, make_config("lm", "none", seed))
        directory = write_run(tmp_path, make_config("lm", "pre_softmax", seed))
        append_metrics(directory, [look(0, 1.0, 3.0, clip=0.5, l0=0.5, l1=0.7), look(50, seed, 3.0, l0=1.0, l1=0.8)])
    append_metrics(directory, [look(100, 1.0, 1.0)])
    (found,) = compare(make_arms(collect(tmp_path)))
    return found


def test_means_over_runs_and_blocks_at_steps_that_all_runs_have(comparison):
    none, arm = comparison.arms
    table, layers = shared_of(arm)
    assert shared_of(none) == [] and share_clipped(none) is None
    assert (table.name, table.uses) == (TABLE, ("decoder.embed", "decoder.output"))
    assert (layers.name, layers.blocks) == ("2 blocks of layers, 2 uses", ("decoder.0.ffn", "decoder.1.ffn"))
    assert course(arm, table, "norm", "decoder.embed") == {0: 1.0, 50: 1.5}
    assert course(arm, layers, "cancellation") == pytest.approx({0: 0.6, 50: 0.9})
    assert shares(arm, table)["decoder.output"] == pytest.approx({0: 0.75, 50: 2 / 3})
    assert share_clipped(arm) == pytest.approx(2 / 5)


def test_text_rows_and_figure(comparison):
    text = uses_text(comparison)
    assert "`decoder.embed` 0.25 to 0.33; `decoder.output` 0.75 to 0.67" in text and "| 40 % |" in text
    assert "`2 blocks of layers, 2 uses` | — | — | — | — | 0.60 to 0.90 |" in text
    rows = {(r["shared"], r["measure"], r["use"], r["step"]): r["value"] for r in uses_rows(comparison)}
    assert rows[TABLE, "norm", "decoder.embed", 50] == 1.5 and len(rows) == 2 * 2 + 2 + 2
    assert draw_uses(comparison, ArmStyles(comparison.arms)).data == uses_rows(comparison)


def test_nothing_is_shown_where_no_run_looked(tmp_path):
    write_run(tmp_path, make_config("lm", "pre_softmax", 1))
    (found,) = compare(make_arms(collect(tmp_path)))
    assert uses_text(found) == "" and draw_uses(found, ArmStyles(found.arms)) is None
