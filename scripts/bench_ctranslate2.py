"""CTranslate2 with the weights of one of tietrain's models: a peer that decodes faster than any other on a CPU."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence

import ctranslate2

from tietrain.data.tokenizer import BOS_ID, EOS_ID, PAD_ID, UNK_ID
from tietrain.model.ct2 import make_spec
from tietrain.model.transformer import Transformer

MARKS = {PAD_ID: "<blank>", UNK_ID: "<unk>", BOS_ID: "<s>", EOS_ID: "</s>"}
N_POSITIONS = 512

# Pieces of sources, rows in a batch, beam, and most tokens to write, or exactly so many -> pieces of each output.
Decode = Callable[[Sequence[Sequence[int]], int, int, int, bool], list[list[int]]]


def converted(model: Transformer, compute_type: str) -> Decode:
    """A decoder of the same weights: two stacks, sinusoids, norms with biases after each part."""
    spec = make_spec(model, N_POSITIONS)
    n_pieces = len(model.output_weights()[0])
    names = [MARKS.get(i, str(i)) for i in range(n_pieces)]
    spec.register_source_vocabulary(names)
    spec.register_target_vocabulary(names)
    spec.validate()
    spec.optimize(quantization="float32")
    with tempfile.TemporaryDirectory() as folder:
        spec.save(folder)
        translator = ctranslate2.Translator(folder, compute_type=compute_type, inter_threads=1, intra_threads=1)
    numbers = {name: i for i, name in enumerate(names)}

    def decode(sources: Sequence[Sequence[int]], rows: int, beam: int, length: int, exactly: bool) -> list[list[int]]:
        found = translator.translate_batch(
            [[*(names[piece] for piece in source), MARKS[EOS_ID]] for source in sources],
            max_batch_size=rows,
            beam_size=beam,
            length_penalty=0,
            max_decoding_length=length,
            min_decoding_length=length if exactly else 1,
        )
        return [[numbers[name] for name in one.hypotheses[0]] for one in found]

    return decode
