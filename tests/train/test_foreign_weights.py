"""Files of weights that a stranger made: what their plan does not describe is refused, by its header if it can be."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tietrain.errors import DataError, SettingsError
from tietrain.train.checkpoint import check_header, read_weights, save_final
from tietrain.train.experiment import Experiment
from tiny_run import build_model, tiny_config

TABLE = "decoder.embed.weight"


def owner_map(change):
    """Metadata whose owner map was changed."""

    def made(metadata):
        plan = json.loads(metadata["plan"])
        change(plan["owner"])
        return {"plan": json.dumps(plan)}

    return made


# What was done to the tensors -> how, and what the refusal names.
TENSORS = {
    "another type": (lambda t: {name: values.double() for name, values in t.items()}, "F64"),
    "truth values": (lambda t: {**t, TABLE: t[TABLE] > 0}, "BOOL"),
    "a value that is not finite": (lambda t: {**t, TABLE: t[TABLE].index_fill(0, torch.tensor([1]), torch.nan)}, TABLE),
    "another shape": (lambda t: {**t, TABLE: t[TABLE][:3]}, TABLE),
    "one too many": (lambda t: {**t, "more": torch.zeros(1)}, "more"),
    "one too few": (lambda t: {name: values for name, values in t.items() if name != TABLE}, TABLE),
}
METADATA = {
    "no plan": lambda metadata: None,
    "deep plan": lambda metadata: {"plan": "[" * 200_000},
    "50,000 slots": owner_map(lambda owner: owner.update({f"decoder.{i}.x": TABLE for i in range(50_000)})),
    "names of no slot": owner_map(lambda owner: owner.update({"": ""})),
    "numbers for names": owner_map(lambda owner: owner.update(dict.fromkeys(owner, 3))),
}


@pytest.fixture
def stored(tmp_path):
    """A file of weights with its tensors, its metadata and its plan."""
    model = build_model(tiny_config("pre_softmax"))
    save_final(tmp_path, model)
    path = tmp_path / "checkpoints" / "final" / "model.safetensors"
    with safe_open(path, framework="pt") as f:
        return path, {name: f.get_tensor(name) for name in f.keys()}, f.metadata(), model.plan  # noqa: SIM118


@pytest.mark.parametrize("name", list(TENSORS))
def test_read_weights_refuses_other_tensors_than_the_plan_s(stored, name):
    path, tensors, metadata, plan = stored
    change, named = TENSORS[name]
    save_file(change(tensors), path, metadata)
    with pytest.raises((DataError, SettingsError)) as refused:
        read_weights(path, plan)
    assert refused.value.setting == str(path) and named in refused.value.problem


@pytest.mark.parametrize("name", list(METADATA))
def test_read_weights_refuses_metadata_that_are_no_plan(stored, name):
    path, tensors, metadata, plan = stored
    save_file(tensors, path, METADATA[name](metadata))
    with pytest.raises(DataError, match="plan"):
        read_weights(path, plan)


def test_check_header_refuses_a_size_that_no_memory_has(stored):
    config = tiny_config("pre_softmax")
    config.model.d_ff = 2 * 10**12
    with pytest.raises(SettingsError, match="2000000000000"):
        check_header(stored[0], Experiment(config).plan)
