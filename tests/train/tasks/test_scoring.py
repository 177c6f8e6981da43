"""Scores are what their definitions say, on numbers worked out by hand."""

import math

import pytest
from sacrebleu.metrics import BLEU, CHRF, TER

from tietrain.runs.scores import METRICS, TOKENIZERS
from tietrain.train.tasks.scoring import add_generator, oracle_scores, score_nats, score_translations


def test_score_nats_of_a_uniform_model():
    # Two lines, five pieces with end marks, a uniform model over 8 pieces.
    result = score_nats([3 * math.log(8), 2 * math.log(8)], [3, 2], ["a b", "ü"], n_unknown=0, lossless=True)
    assert result.scores["ppl_token"] == pytest.approx(8)
    assert result.scores["words"] == 5  # a, b, ü and two line ends
    assert result.scores["bytes"] == 4 + 3  # "a b\n" and "ü\n", ü being two bytes
    assert result.scores["ppl_word"] == pytest.approx(8)
    assert result.scores["bits_per_byte"] == pytest.approx(15 / 7)


@pytest.mark.parametrize(("n_unknown", "lossless"), [(1, True), (0, False)])
def test_score_nats_leaves_untrue_scores_empty_with_a_reason(n_unknown, lossless):
    result = score_nats([1.0], [5], ["a b"], n_unknown, lossless)
    assert result.scores["bits_per_byte"] is None
    assert result.reasons["bits_per_byte"]


def test_add_generator_adds_the_excess():
    result = score_nats([10.0], [5], ["a b"], 0, True)
    add_generator(result, [3.0, 4.0])
    assert result.scores["excess_nats"] == pytest.approx(0.6)


def test_score_nats_documents_add_up_exactly():
    nats = [1.0, 1e16, 1.0, 0.5]
    result = score_nats(nats, [1, 2, 3, 4], ["a", "b b", "", "ü"], 0, True)
    assert math.fsum(d["nats"] for d in result.documents) == result.scores["nats"] != sum(nats)
    for key in ("tokens", "bytes"):
        assert sum(d[key] for d in result.documents) == result.scores[key]
    assert [d["bytes"] for d in result.documents] == [2, 4, 1, 3]
    assert len({d["sha256"] for d in result.documents}) == 4


HYPOTHESES = ["the cat sat on the mat .", "a dog ran ,", ""]
REFERENCES = ["the cat sat on a mat .", "a dog ran away", "so ?"]


def test_score_translations_refuses_unequal_lengths():
    with pytest.raises(ValueError, match="1 hypotheses for 2 references"):
        score_translations(["a"], ["a", "b"], ["bleu"], "13a")


@pytest.mark.parametrize("tokenize", TOKENIZERS)
def test_score_translations_are_sacrebleus_own_with_signatures(tokenize):
    scores, signatures = score_translations(HYPOTHESES, REFERENCES, METRICS, tokenize)
    bleu, ter = BLEU(tokenize=tokenize), TER()
    direct = {"bleu": bleu, "chrf": CHRF(), "chrf++": CHRF(word_order=2), "ter": ter}
    assert list(scores) == [*METRICS, "length_ratio"] and list(signatures) == list(METRICS)
    for name, metric in direct.items():
        result = metric.corpus_score(HYPOTHESES, [REFERENCES])
        assert scores[name] == result.score
        assert signatures[name] == str(metric.get_signature())
        if name == "bleu":
            assert scores["length_ratio"] == result.sys_len / result.ref_len
    assert f"tok:{tokenize}" in signatures["bleu"]
    assert "nw:0" in signatures["chrf"] and "nw:2" in signatures["chrf++"] and "tok:tercom" in signatures["ter"]
    assert len({scores[name] for name in METRICS}) == 4


def test_score_translations_has_the_requested_metrics_alone():
    assert list(score_translations(HYPOTHESES, REFERENCES, ["ter"], "13a")[0]) == ["ter", "length_ratio"]


def test_score_translations_of_empty_references_have_no_length_ratio():
    assert score_translations(["a"], [""], ["chrf"], "13a")[0]["length_ratio"] is None


def test_oracle_scores_are_the_ceiling_of_the_references():
    lines = ["the cat sat on the mat .", "a dog ran to the old house ."]
    scores = oracle_scores(lines, lines, [lines, lines], "13a")
    assert scores["oracle_bleu"] == pytest.approx(100)
    assert scores["oracle_bleu_sd"] == 0
