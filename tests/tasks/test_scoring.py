"""Scores are what their definitions say, on numbers worked out by hand."""

import math

import pytest

from tietrain.tasks.scoring import add_generator, oracle_scores, score_nats, score_translations


def test_perplexities_and_bits_per_byte_of_a_uniform_model():
    # Two lines, five pieces with end marks, a uniform model over 8 pieces.
    result = score_nats(5 * math.log(8), 5, ["a b", "ü"], n_unknown=0, lossless=True)
    assert result.scores["ppl_token"] == pytest.approx(8)
    assert result.scores["words"] == 5  # a, b, ü and two line ends
    assert result.scores["bytes"] == 4 + 3  # "a b\n" and "ü\n", ü being two bytes
    assert result.scores["ppl_word"] == pytest.approx(8)
    assert result.scores["bits_per_byte"] == pytest.approx(15 / 7)


@pytest.mark.parametrize(("n_unknown", "lossless"), [(1, True), (0, False)])
def test_scores_that_would_be_untrue_are_left_empty_with_a_reason(n_unknown, lossless):
    result = score_nats(1.0, 5, ["a b"], n_unknown, lossless)
    assert result.scores["bits_per_byte"] is None
    assert result.reasons["bits_per_byte"]


def test_excess_over_the_generator():
    result = score_nats(10.0, 5, ["a b"], 0, True)
    add_generator(result, [3.0, 4.0])
    assert result.scores["excess_nats"] == pytest.approx(0.6)


def test_translation_scores_refuse_unequal_lengths():
    with pytest.raises(ValueError, match="1 hypotheses for 2 references"):
        score_translations(["a"], ["a", "b"])


def test_translation_scores_have_signatures():
    scores, signatures = score_translations(["the cat sat on the mat ."], ["the cat sat on the mat ."])
    assert scores["bleu"] == pytest.approx(100)
    assert "tok:13a" in signatures["bleu"]
    assert "nw:0" in signatures["chrf"]


def test_oracle_is_the_ceiling_of_the_references():
    lines = ["the cat sat on the mat .", "a dog ran to the old house ."]
    scores = oracle_scores(lines, lines, [lines, lines])
    assert scores["oracle_bleu"] == pytest.approx(100)
    assert scores["oracle_bleu_sd"] == 0
