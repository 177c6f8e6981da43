"""Commands of people who do this job, on small inputs, whose outcome no test of one room shows."""

from pathlib import Path


def test_sacrebleu_advice_names_no_parameter_that_is_not_ours(tietrain_cli, caplog):
    """sacrebleu warns of tokenized text in words of its own, from a hundred lines on."""
    for side in ("en", "xx"):
        Path(f"t.{side}").write_text("".join(f"the {side} saw {i} boats , and it left .\n" for i in range(120)))
    words = ["task=mt", "data=text", "data.columns=[en,xx]", "model.vocab_size=60"]
    ran = tietrain_cli("data", *words, "data.splits={train: [t.en,t.xx], valid: [t.en,t.xx]}")
    assert ran.code == 0 and "set task.bleu_tokenize=none" in ran.out
    assert ran.err + caplog.text == ""
