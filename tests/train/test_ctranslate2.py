"""A translation model is the same in CTranslate2, where it is installed: greedy output, of the folder that is exported."""

from itertools import chain

import numpy as np
import pytest

from begun_run import SIZE, make_begun
from hf_plans import PLANS
from tietrain.data.batches.pairs import Sources
from tietrain.data.encoded import EncodedLines
from tietrain.data.tokenizer import BOS_ID, PAD_ID
from tietrain.data.vocabularies import load_vocabulary
from tietrain.model.beam import Search, search
from tietrain.train.export import CT2, export_run

ctranslate2 = pytest.importorskip("ctranslate2")
LIMIT = 13


TRANSLATION = [name for name, words in PLANS.items() if words[0] == "task=mt"]


@pytest.mark.parametrize(
    "name", [TRANSLATION[0], *(pytest.param(name, marks=pytest.mark.slow) for name in TRANSLATION[1:])]
)
def test_translation_is_the_same_in_ctranslate2(tmp_path, name):
    run, model = make_begun(tmp_path, "run", [*PLANS[name], *SIZE])
    export_run(run, CT2, checkpoint="final")
    n_pieces = min(stack.vocab_size for stack in model.shape.stacks)
    rows = EncodedLines.of(np.random.default_rng(1).integers(4, n_pieces, (4, 9)))
    found = dict(chain.from_iterable(search(model, Sources({"encoder": rows}, None), [[]] * 4, [LIMIT] * 4, Search())))
    source, target = (load_vocabulary(run / CT2 / f"{stack}.model").pieces for stack in ("encoder", "decoder"))
    translator = ctranslate2.Translator(str(run / CT2), compute_type="float32", intra_threads=1)
    there = translator.translate_batch(
        [[source[piece] for piece in row] for row in rows],
        beam_size=1,
        max_decoding_length=LIMIT - 1,
        suppress_sequences=[[target[PAD_ID]], [target[BOS_ID]]],
    )
    for row, (best,) in found.items():
        assert there[row].hypotheses[0] == [target[piece] for piece in best.pieces]
