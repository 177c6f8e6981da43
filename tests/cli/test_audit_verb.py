"""`tietrain audit DIR`: what a folder of weights shares, and what its configuration says that is not so."""

import json

import pytest
import torch

import tietrain
from foreign_models import named_as, write_folder
from tietrain.cli.main import main

FILE = "model.safetensors"
GPT2 = {"architectures": ["GPT2LMHeadModel"]}


def weights(tied=False):
    torch.manual_seed(0)
    model = named_as("gpt2", 2)
    if tied:
        model.lm_head.weight.data = model.transformer.wte.weight.data.clone()
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def without(tensors, name):
    return {key: value for key, value in tensors.items() if key != name}


# Name -> configuration, tensors, exit code.
FOLDERS = {
    "untied": (GPT2 | {"tie_word_embeddings": False}, weights(), 0),
    "tied, stored twice": (GPT2 | {"tie_word_embeddings": True}, weights(tied=True), 0),
    "tied, stored once": (GPT2 | {"tie_word_embeddings": True}, without(weights(), "lm_head.weight"), 0),
    "promised, not so": (GPT2 | {"tie_word_embeddings": True}, weights(), 1),
    "head is missing": (GPT2 | {"tie_word_embeddings": False}, without(weights(), "lm_head.weight"), 1),
    "head is not wanted": ({"tie_word_embeddings": False}, without(weights(), "lm_head.weight"), 0),
    "unknown names": ({"tie_word_embeddings": True}, {"x": torch.ones(3), "y": torch.ones(3)}, 0),
    "nothing said": ({"tie_word_embeddings": "yes"}, weights(), 0),
}


def test_audit_says_what_a_folder_shares(tietrain_cli, tmp_path, golden):
    texts = {}
    for name, (config, tensors, code) in FOLDERS.items():
        ran = tietrain_cli("audit", str(write_folder(tmp_path / "x", config, {FILE: tensors})))
        assert (ran.code, ran.err) == (code, ""), name
        texts[name] = ran.out
    golden("audit", texts)


def test_audit_json_has_every_group(tietrain_cli, tmp_path):
    many = {f"{i}.{j}": torch.arange(2.0) + i for i in range(30) for j in range(2)}
    folder = str(write_folder(tmp_path, {}, {FILE: many}))
    body = json.loads(tietrain_cli("audit", folder, "--json").out)
    assert sorted(body["equal"]) == sorted([f"{i}.0", f"{i}.1"] for i in range(30)) and body["params"] == 120
    assert "10 more groups" in tietrain_cli("audit", folder).out


def test_audit_of_a_folder_agrees_with_that_of_the_module(tmp_path):
    from tietrain.cli.audit import audit_folder

    model = named_as("t5")
    model.lm_head.weight.data = model.encoder.embed_tokens.weight.data.clone()
    found = audit_folder(write_folder(tmp_path, {}, {FILE: {k: v.detach() for k, v in model.named_parameters()}}))
    live = tietrain.audit(model)
    assert {frozenset(group) for group in found.equal} == {frozenset(group) for group in live.equal} != set()
    assert found.params == live.params


def test_audit_looks_at_bytes(tmp_path):
    """Pieces of a large tensor count, and so do the last byte, the type and the shape."""
    from tietrain.cli.audit import audit_folder

    large = torch.arange(300_000, dtype=torch.int32)
    other = large.clone()
    other[-1] += 1
    tensors = {
        "a": large,
        "b": other,
        "c": large.clone(),
        "d": large.view(2, -1).clone(),
        "e": large.view(torch.float32),
    }
    found = audit_folder(write_folder(tmp_path, {}, {FILE: {name: t.clone() for name, t in tensors.items()}}))
    assert found.equal == (("a", "c"),)


@pytest.mark.parametrize("words", [["audit"], ["audit", "no/such/folder"]])
def test_audit_refuses_in_one_line(tietrain_cli, words):
    ran = tietrain_cli(*words)
    assert ran.is_refusal() and ran.code == (3 if len(words) == 2 else 2)


def test_names_of_a_stranger_command_no_terminal(tmp_path, monkeypatch):
    import io
    import sys

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    name = "\x1b[31mred\u202e"
    folder = write_folder(
        tmp_path, {}, {FILE: {name: torch.arange(2), "b": torch.arange(2)}}, {name: FILE, "\x1b[2J": FILE}
    )
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert main(["audit", str(folder)]) == 1
    assert "red" in sys.stdout.getvalue() and "\x1b" not in sys.stdout.getvalue()
