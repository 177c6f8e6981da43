"""The method: everything that a reviewer asks for, from the records, and nothing that the runs did not read."""

from dataclasses import replace

from fabricated import make_config, write_run
from tietrain.config.model import InitTables
from tietrain.report.arms import compare, make_arms
from tietrain.report.differences import differing_settings
from tietrain.report.pages.method import method_details, method_sentences, setting_groups
from tietrain.report.verdicts import judge
from tietrain.runs.view import MAX_TEXT, collect

# Of another task, search or schedule, or only requested.
UNUSED = (
    "device auto",
    "precision auto",
    "vocabulary auto",
    "mask_rate",
    "beam",
    "max_output",
    "momentum",
    "n_averaged",
)


def test_method_sentences(judged, golden):
    comparison, verdicts = judged({"none": 0.0, "pre_softmax": -0.1}, tuned=False, margin=0.02)
    sentences = method_sentences(comparison, verdicts)
    text = " ".join(sentences)
    for setting in ("n_heads 4", "lr 0.002", "batch_tokens 1024", "precision fp32", "window 128, stride 128"):
        assert setting in text
    assert not [words for words in ("`", "{}", "bleu", *UNUSED) if words in text]
    groups = setting_groups(comparison.arms[0].done)
    golden("method", {"of two arms": "\n".join(s for s in sentences if s.partition(":")[0] not in groups)})
    # One text from a run directory is cut at this length, the paragraph is not.
    assert max(map(len, sentences)) < MAX_TEXT < len(text)


def test_method_details_and_sentences_show_the_same_groups(judged):
    comparison, verdicts = judged({"none": 0.0, "pre_softmax": -0.1}, tuned=False, n_seeds=1)
    details = {line.partition(":")[0] for line in method_details(comparison)}
    sentences = {line.partition(":")[0] for line in method_sentences(comparison, verdicts)}
    assert set(setting_groups(comparison.arms[0].done)) <= details & sentences


def test_method_sentences_name_files_of_vectors(tmp_path):
    for label, content in {"none": "a" * 64, "pre_softmax": "b" * 64}.items():
        made = make_config("lm", label, 1)
        write_run(tmp_path, replace(made, init_tables=InitTables(input="v", contents={"input": content})))
    (comparison,) = compare(make_arms(collect(tmp_path)))
    text = f"Files of vectors that token tables start from (sha256): input {'a' * 12} or {'b' * 12}."
    assert text in method_sentences(comparison, judge(comparison, tuned=False))
    assert "init_tables.contents.input" in differing_settings(comparison)


def test_method_sentences_name_joint_vocabularies(tmp_path):
    for label in ("none", "pre_softmax", "three_way"):
        write_run(tmp_path, make_config("mt", label, 1))
    (comparison,) = compare(make_arms(collect(tmp_path)))
    sentences = method_sentences(comparison, judge(comparison, tuned=False))
    assert [s.partition(": ")[2] for s in sentences if s.startswith("One vocabulary")] == [
        "none and pre_softmax.",
        "three_way.",
    ]
