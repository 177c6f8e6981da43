"""The proof that a model is the same in transformers: logits, greedy output, and every bit after the way there and back."""

import logging

import numpy as np
import pytest
import torch

import tietrain
from begun_run import SIZE, make_begun, text_words
from hf_plans import PLANS
from tietrain.data.batches.pairs import Sources
from tietrain.data.encoded import EncodedLines
from tietrain.model.beam import Search, search
from tietrain.train.export import export_run
from tietrain.train.imported import import_folder

transformers = pytest.importorskip("transformers")
QUICK = ("cycle", "three_way, output bias")
LIMIT = 13
COLUMNS = {"gpt2": [("text", "decoder")], "llama": [("text", "decoder")]}
COLUMNS["marian"] = [("source", "encoder"), ("target", "decoder")]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    logging.getLogger("transformers").setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    return tmp_path_factory.mktemp("exchange")


def loaded(folder):
    """The model of a folder, of which transformers misses and ignores nothing."""
    name = transformers.AutoConfig.from_pretrained(folder).architectures[0]
    model, found = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
    assert not any(found.values()), found
    return model.eval()


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in PLANS]
)
def test_model_is_the_same_in_transformers_and_back(place, name):
    words = PLANS[name]
    run, model = make_begun(place, name.replace(", ", " ").replace(" ", "_"), [*words, *SIZE])
    found = export_run(run, checkpoint="final")
    there = loaded(run / "hf")
    assert found.class_name == type(there).__name__
    n_pieces = min(stack.vocab_size for stack in model.shape.stacks)
    ids, source = torch.from_numpy(np.random.default_rng(1).integers(4, n_pieces, (2, 2, 9)))
    with torch.inference_mode():
        if words[0] == "task=lm":
            here = model.logits(model(None, ids))
            logits = there(input_ids=ids).logits
            (((_, (best,)),),) = search(model, None, [ids[0].tolist()], [LIMIT], Search())
            prompt = torch.cat((torch.tensor([[3]]), ids[:1]), dim=1)
            written = there.generate(input_ids=prompt, max_new_tokens=LIMIT - 1, do_sample=False)[0, 1:].tolist()
        else:
            source[1, 6:] = 0
            here = model.logits(model({"encoder": source}, ids))
            logits = there(input_ids=source, attention_mask=source.ne(0), decoder_input_ids=ids).logits
            sources = Sources({"encoder": EncodedLines.of(source[:1].numpy())}, None)
            (((_, (best,)),),) = search(model, sources, [[]], [LIMIT], Search())
            read = torch.cat((source[:1], torch.tensor([[3]])), dim=1)
            written = there.generate(input_ids=read, max_new_tokens=LIMIT - 1, do_sample=False)[0, 1:].tolist()
    torch.testing.assert_close(logits, here, rtol=0, atol=1e-5)
    assert written[: len(best.pieces)] == list(best.pieces) and len(best.pieces) > 4
    if found.apart:
        tietrain.tie(there, there.config.tietrain["groups"])
        assert set(map(frozenset, found.apart)) <= set(map(frozenset, tietrain.audit(there).tied))

    words = text_words(words[0].removeprefix("task="), place)
    back = import_folder(run / "hf", [*words, f"run_dir={run}_back"])
    final = "checkpoints/final/model.safetensors"
    assert (place / back.directory / final).read_bytes() == (run / final).read_bytes()
    there.save_pretrained(run / "saved")
    vocabularies = ",".join(
        f"{column}: {run}/vocabulary/{stack}.model" for column, stack in COLUMNS[there.config.model_type]
    )
    again = import_folder(run / "saved", [*words, f"data.vocabulary={{{vocabularies}}}", f"run_dir={run}_again"])
    assert (place / again.directory / final).read_bytes() == (run / final).read_bytes()
