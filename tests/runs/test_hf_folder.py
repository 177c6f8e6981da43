"""Folders in Hugging Face format, whole, odd and hostile."""

import json
import os

import pytest
import torch

from foreign_models import write_folder
from refusals import refusal, spelled
from tietrain.errors import DataError
from tietrain.runs.hf_folder import read_header, read_hf_folder

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.zeros(0, 4), "c": torch.ones(3, dtype=torch.bfloat16)}
FILE = "model.safetensors"


def raw(header: object, content: bytes = b"", length: int | None = None) -> bytes:
    body = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(body) if length is None else length).to_bytes(8, "little") + body + content


def entry(shape, offsets, dtype="U8"):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


# Name of a damage -> bytes of a file.
DAMAGED = {
    "empty": b"",
    "short": b"\x00" * 7,
    "no JSON": raw(b"not JSON"),
    "a list": raw([]),
    "deep": raw(b"[" * 100_000),
    "giant header": raw({}, length=2**40),
    "long integer": raw(b'{"a": {"dtype": "U8", "shape": [' + b"9" * 5000 + b'], "data_offsets": [0, 1]}}', b"x"),
    "entry is text": raw({"a": "x"}),
    "unknown type": raw({"a": entry([1], [0, 1], "F9")}, b"x"),
    "long name": raw({"a" * 10**6: entry([1], [0, 1], "F9")}, b"x"),
    "many dimensions": raw({"a": entry([10**9] * 10**6, [0, 1])}, b"x"),
    "more bytes than any disk has": raw({"a": entry([10**4000], [0, 10**4000])}, b"x"),
    "negative shape": raw({"a": entry([-1, -1], [0, 1])}, b"x"),
    "shape is text": raw({"a": entry("x", [0, 1])}, b"x"),
    "other size": raw({"a": entry([2], [0, 1])}, b"x"),
    "shared bytes": raw({"a": entry([2], [0, 2]), "b": entry([2], [0, 2])}, b"xx"),
    "hole": raw({"a": entry([1], [0, 1]), "b": entry([1], [2, 3])}, b"xxx"),
    "cut": raw({"a": entry([4], [0, 4])}, b"xxx"),
    "more bytes": raw({"a": entry([1], [0, 1])}, b"xx"),
    "name is twice": raw(b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}, "a": 1}', b"x"),
}


def test_read_header_agrees_with_the_library(tmp_path):
    write_folder(tmp_path, {}, {FILE: TENSORS})
    found = read_header(tmp_path / FILE)
    assert {name: stored.shape for name, stored in found.items()} == {k: tuple(t.shape) for k, t in TENSORS.items()}
    for name, stored in found.items():
        expected = TENSORS[name].reshape(-1).view(torch.uint8).numpy().tobytes()
        assert b"".join(stored.chunks(4)) == expected, name


@pytest.mark.parametrize("damage", DAMAGED)
def test_read_header_refuses_damage(tmp_path, damage):
    (tmp_path / FILE).write_bytes(DAMAGED[damage])
    refused = refusal(read_header, tmp_path / FILE)
    assert isinstance(refused, DataError) and refused.setting == str(tmp_path / FILE) and len(str(refused)) < 500


def test_chunks_refuse_a_file_that_was_cut_since(tmp_path):
    write_folder(tmp_path, {}, {FILE: {"a": torch.ones(9)}})
    stored = read_header(tmp_path / FILE)["a"]
    os.truncate(tmp_path / FILE, stored.start + 4)
    assert isinstance(refusal(lambda: list(stored.chunks(8))), DataError)


def test_read_hf_folder_refuses_what_is_none(tmp_path, golden):
    def folder(name, files):
        place = tmp_path / name
        place.mkdir()
        for file, text in files.items():
            (place / file).write_text(text)
        return place

    pipe = write_folder(tmp_path / "pipe", {}, {})
    os.mkfifo(pipe / FILE)
    whole = {FILE: "\x02" + "\x00" * 7 + "{}"}
    index = "model.safetensors.index.json"
    folders = {
        "not there": tmp_path / "nowhere",
        "a file": folder("a file", whole) / FILE,
        "pickles": folder("pickles", {"pytorch_model.bin": "x", "config.json": "{}"}),
        "configuration is a list": folder("list", whole | {"config.json": "[]"}),
        "index has no map": folder("map", whole | {index: "{}"}),
        "index maps to numbers": folder("numbers", whole | {index: '{"weight_map": {"a": 1}}'}),
        "a pipe": pipe,
    }
    texts = {}
    for name, place in folders.items():
        refused = refusal(read_hf_folder, place)
        assert isinstance(refused, DataError)
        texts[name] = spelled(refused, tmp_path)
    golden("hf_folder_refusals", texts)


def test_read_hf_folder_reads_what_a_reader_would(tmp_path):
    one, two = {"a": torch.ones(1)}, {"b": torch.ones(2)}
    files = {FILE: one, "consolidated.safetensors": two}
    assert list(read_hf_folder(write_folder(tmp_path / "1", {}, files)).tensors) == ["a"]
    shards = {"x-1.safetensors": one, "x-2.safetensors": two}
    assert read_hf_folder(write_folder(tmp_path / "2", {}, shards)).tensors.keys() == {"a", "b"}
    indexed = write_folder(tmp_path / "3", {}, shards | files, {"b": "x-2.safetensors"})
    assert list(read_hf_folder(indexed).tensors) == ["b"]


@pytest.mark.parametrize("file", ["../outside.safetensors", "/etc/passwd", "", ".", "\x1b[31m"])
def test_index_leads_out_of_no_folder(tmp_path, file):
    write_folder(tmp_path, {}, {"outside.safetensors": {"secret": torch.ones(1)}})
    folder = write_folder(tmp_path / "in", {}, {FILE: {"a": torch.ones(1)}}, {"a": FILE, "secret": file})
    found = read_hf_folder(folder)
    assert list(found.tensors) == ["a"] and "not there" in found.broken[0]


def test_name_in_two_files_is_named(tmp_path):
    files = {"x-1.safetensors": {"a": torch.ones(1)}, "x-2.safetensors": {"a": torch.zeros(1)}}
    assert read_hf_folder(write_folder(tmp_path, {}, files)).broken == (
        "a is in x-1.safetensors and in x-2.safetensors",
    )
