"""A study of more arms than a reader can look at: the best and the worst first, the others to be found."""

import pytest

from fabricated import make_config, write_run
from tietrain.report.arms import compare, make_arms
from tietrain.report.extremes import EACH, MOST, extremes
from tietrain.report.figures.canvas import ArmStyles
from tietrain.report.pages.headline import make_headline
from tietrain.report.pages.html import make_html
from tietrain.report.pages.markdown import make_sections
from tietrain.report.verdicts import judge
from tietrain.report.write import draw_all
from tietrain.runs.view import collect

N_ARMS = 31


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """One untied arm and N_ARMS - 1 tied ones at different rates, which score the worse the higher the rate."""
    root = tmp_path_factory.mktemp("many")
    for i in range(N_ARMS):
        for seed in (1, 2):
            config = make_config("lm", "pre_softmax" if i else "none", seed)
            config.optim.lr = 1e-3 * (i + 1)
            write_run(root, config, loss=2 + 0.1 * i + 0.01 * seed, folder=f"{i}-{seed}")
    found = collect(root)
    (comparison,) = compare(make_arms(found))
    return found, comparison, judge(comparison, tuned=False)


def rates(comparison):
    return [round(1000 * arm.first.settings["optim.lr"]) for arm in comparison.arms]


def test_extremes_are_the_best_and_the_worst_with_their_baseline(many):
    _, comparison, verdicts = many
    shown, judged = extremes(comparison, verdicts)
    assert sorted(rates(shown)) == [*range(1, EACH + 1), *range(N_ARMS - EACH + 1, N_ARMS + 1)]
    assert [one.arm for one in judged.arms] == list(shown.arms)


def test_extremes_of_few_arms_are_all(many):
    found, _, _ = many
    (few,) = compare(make_arms(found[: 2 * MOST]))
    verdicts = judge(few, tuned=False)
    assert extremes(few, verdicts) == (few, verdicts)


def test_figures_of_many_arms_are_bounded_and_say_so(many, monkeypatch):
    _, comparison, verdicts = many
    seen = []
    for name in ("scores.draw_quality", "model.draw_parameters", "losses.draw_loss", "flops.draw_training_flops"):
        monkeypatch.setattr(f"tietrain.report.figures.{name}", lambda of, *_: seen.append(len(of.arms)))
    drawings = draw_all(comparison, verdicts, ArmStyles(comparison.arms))
    assert seen == [2 * EACH] * 6
    assert drawings and all(f"Of {N_ARMS} arms" in drawing.caption for drawing in drawings)


def test_page_of_many_arms_folds_rows_and_names_few(many):
    found, comparison, verdicts = many
    sections = {comparison.slug: make_sections(comparison, verdicts, ())}
    styles = ArmStyles(comparison.arms)
    page = make_html(found, [comparison], {comparison.slug: verdicts}, sections, styles)
    assert page.count(' more">') == N_ARMS - 2 * EACH
    assert page.count('type="checkbox"') == 2 * EACH
    assert page.count('type="search"') == 1
    assert make_headline(comparison, verdicts).answer.count("pre_softmax") < 10
