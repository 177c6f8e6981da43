"""The scheme table: catalogue numbers, models, sources, documents."""

import json
import re

import pytest

from expected_ties import EXPECTED, MORE_STACKS, NOT_FOR_LM
from tietrain.cli.main import main
from tietrain.config.keys import tying_choices
from tietrain.plan.aliases import ALIASES
from tietrain.plan.catalogue import load_scheme, scheme_rows

# The catalogue of papers.md, in its order.
CATALOGUE = {
    "none": "E0",
    "shared_vocab": "E0",
    "pre_softmax": "E1",
    "embeddings": "E2",
    "three_way": "E3",
    "factorised": "E7",
    "input_gradient": "E14",
    "cross_layer": "L1-L7",
    "step_signal": "L1",
    "universal": "L1",
    "attention_only": "L2",
    "ffn_only": "L3",
    "sequence": "L4, L5",
    "cycle": "L6",
    "cycle_rev": "L7",
    "mirror": "L8",
    "immediate": "L9",
    "sandwich": "L10",
    "all_but_last": "L11",
    "middle_cycle": "L12",
    "middle_sequence": "L13",
    "prelude_loop_coda": "L14",
    "execution": "L15",
    "relaxed": "L16",
    "scaled": "L17",
    "groups": "L22",
    "index_vector": "L22",
    "shared_enc": "F1",
    "shared_dec": "F2",
    "shared_enc_shared_dec": "F3",
    "shared_enc_dec": "F4",
    "transposed": "F8",
    "cross_attn": "A1",
    "decoder_self_attn": "A1",
    "encoder_self_attn": "A1",
    "query_key": "A4",
    "encoder_decoder": "S1",
    "one_layer": "S2",
    "one_decoder": "S3",
    "partial_decoders": "S3",
    "cross_attentions": "S4",
    "one_encoder": "S4",
    "positions": "P1",
    "random_map": "N1",
}
# Whose rule it is, where it was published: name and year.
AUTHORS = {
    "E1": "Press & Wolf 2017",
    "E3": "Press & Wolf 2017",
    "L1": "Dehghani et al. 2018",
    "L2": "Lan et al. 2019",
    "L3": "Lan et al. 2019",
    "L4, L5": "Takase & Kiyono 2021",
    "L6": "Takase & Kiyono 2021",
    "L7": "Takase & Kiyono 2021",
    "L8": "Liu et al. 2024",
    "L9": "Liu et al. 2024",
    "L10": "Reid et al. 2021",
    "L11": "Reid et al. 2021",
    "L12": "Bae et al. 2025",
    "L13": "Bae et al. 2025",
    "L14": "Schwethelm et al. 2026",
    "L15": "parameter-golf 2026",
    "L16": "Bae et al. 2024",
    "E7": "Lan et al. 2019",
    "E14": "Lopardo et al. 2026",
    "F1": "Pires et al. 2023",
    "F2": "Pires et al. 2023",
    "F3": "Pires et al. 2023",
    "F4": "Pires et al. 2023",
    "A1": "Pires et al. 2023",
    "A4": "Kitaev et al. 2020",
    "S1": "Xia et al. 2019",
    "S2": "Dabre & Fujita 2019",
    "S3": "Sachan & Neubig 2018",
}


@pytest.fixture(scope="module")
def rows():
    return scheme_rows(tying_choices())


def test_scheme_rows_follow_the_catalogue(rows):
    assert {row["name"]: row["catalogue"] for row in rows} == CATALOGUE
    assert [row["name"] for row in rows] == list(CATALOGUE)


def test_scheme_rows_name_the_models_that_fit(rows):
    every = {"mt", "sources", "languages"}
    # A masked model is an encoder alone.
    of_encoders = {"shared_enc", "shared_enc_shared_dec", "encoder_self_attn"}
    of_decoders = {"shared_dec", "shared_enc_shared_dec", "decoder_self_attn", "groups"}
    for row in rows:
        name = row["name"]
        wanted = set(MORE_STACKS[name]) if name in MORE_STACKS else set(every)
        if name in EXPECTED and name not in NOT_FOR_LM:
            wanted.add("lm")
        if (name in EXPECTED and name not in {*NOT_FOR_LM, *of_decoders}) or name in of_encoders - of_decoders:
            wanted.add("mlm")
        if name == "groups":
            wanted.remove("languages")  # its example names the stack decoder
        assert set(row["models"]) == wanted, name
        lone = {"one_encoder": "several sources", "cross_attentions": "several sources"}
        words = lone.get(name, "several languages") if name in MORE_STACKS else "translation"
        assert row["for"] == ("every model" if "lm" in wanted else words)


def test_load_scheme_reads_description_and_source():
    for name in [*EXPECTED, *MORE_STACKS]:
        scheme = load_scheme(name)
        assert len(scheme.shares.split()) >= 4 and not scheme.shares.endswith("."), name
        assert AUTHORS.get(scheme.catalogue, "") in scheme.source, name
        years = re.findall(r"\b(?:19|20)\d\d\b", scheme.source)
        assert years or scheme.catalogue in ("E0", "E2", "L17", "L22", "F8", "P1", "S4", "N1"), (
            f"{name}: a source without a year"
        )


def test_load_scheme_names_a_file_without_header(tmp_path, monkeypatch):
    (tmp_path / "tying").mkdir()
    (tmp_path / "tying" / "bare.yaml").write_text("ties:\n  bare: {rule: mirror}\n")
    monkeypatch.setattr("tietrain.plan.catalogue.files", lambda package: tmp_path)
    with pytest.raises(AssertionError, match=r"conf/tying/bare\.yaml"):
        load_scheme("bare")


def test_scheme_rows_have_options_and_aliases(rows):
    by_name = {row["name"]: row for row in rows}
    assert by_name["cycle"]["options"] == {
        "order": "cycle",
        "n_unique": 2,
        "stacks": None,
        "parts": None,
        "norms": True,
    }
    assert by_name["three_way"]["options"] == {}
    assert by_name["shared_enc"]["options"]["stacks"] == ["encoder"]
    for name, row in by_name.items():
        assert row["aliases"] == [f"alias/{alias.file}" for alias in ALIASES if alias.scheme == name]
    assert sum(len(row["aliases"]) for row in rows) == len(ALIASES)


def test_schemes_verb(capsys, rows):
    assert main(["schemes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(rows))
    assert main(["schemes"]) == 0
    out = capsys.readouterr().out
    for name in CATALOGUE:
        assert re.search(rf"^{name} ", out, re.MULTILINE), name
    for alias in ALIASES:
        assert f"tying=alias/{alias.file} is {alias.scheme}\n" in out
