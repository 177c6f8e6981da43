"""Drawing text from a language model: each piece from a number that only seed, sample and position decide."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tietrain.data.encoded import draws
from tietrain.data.tokenizer import BOS_ID, EOS_ID, PAD_ID
from tietrain.model.cache import Cache
from tietrain.model.graph import step_of
from tietrain.model.transformer import Transformer, device_of


@dataclass(frozen=True)
class Sampling:
    """The distribution from which pieces are drawn.

    temperature: what logits are divided by. top_k: only the k most probable pieces; None for all. top_p: only the most
        probable ones that together reach this mass (Holtzman et al. 2020, section 3.1), of what top_k left.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    seed: int = 1


@torch.inference_mode()
def sample(
    model: Transformer, prompt: Sequence[int], samples: Sequence[int], length: int, window: int, settings: Sampling
) -> list[list[int]]:
    """`length` pieces that continue a prompt, for each of the numbered samples; end marks are ends of lines.

    A sample does not depend on the others that are drawn beside it.

    Args:
        prompt: pieces, after the end of some line before it.
        window: most tokens read at once; once they are reached, the last half of them is read again.
    """
    device = device_of(model)
    uniform = torch.from_numpy(np.stack([uniforms(length, settings.seed, number) for number in samples])).to(device)
    written = torch.tensor([EOS_ID, *prompt], device=device).repeat(len(samples), 1)
    cache, new_ids = Cache(), written
    with model.keeping({}):
        for position in range(length):
            if cache.position + new_ids.shape[1] > window:
                cache, new_ids = Cache(), written[:, -max(1, window // 2) :]
            step = step_of(model, _next, cache, new_ids.shape[1])
            # A copy, since a graph serves parts of a tensor at one place in it alone.
            uniform_here = uniform[:, position].clone(memory_format=torch.contiguous_format)
            new_ids = step(model, new_ids, cache, uniform_here, settings)
            written = torch.cat((written, new_ids), dim=1)
    return written[:, len(prompt) + 1 :].tolist()


def _next(model: Transformer, new_ids: Tensor, cache: Cache, uniform: Tensor, settings: Sampling) -> Tensor:
    """The piece that follows the newest ones of each row: [B, 1]."""
    return draw(model.logits(model.decode(new_ids, None, cache)[:, -1]), uniform, settings)[:, None]


def uniforms(n: int, seed: int, number: int) -> np.ndarray:
    """Numbers from 0 to below 1, one per position of a sample: [T]; a longer sample begins with those of a shorter one."""
    return (draws(n, seed, number, "sample") >> np.uint64(11)) * 2.0**-53


def draw(logits: Tensor, uniform: Tensor, settings: Sampling) -> Tensor:
    """The piece at which the mass of all pieces, most probable first, passes `uniform` [B]: [B, V] -> [B]."""
    logits = logits.double() / settings.temperature
    for piece in (PAD_ID, BOS_ID):  # a list of both would be copied to the device, which waits
        logits[:, piece] = -torch.inf
    logits, pieces = logits.sort(dim=1, descending=True, stable=True)
    mass = logits[:, : settings.top_k].softmax(1)  # [B, at most V], falling
    mass = mass.masked_fill(mass.cumsum(1) - mass >= settings.top_p, 0.0).cumsum(1)
    chosen = (mass < uniform[:, None] * mass[:, -1:]).sum(1, keepdim=True)
    return pieces.gather(1, chosen).squeeze(1)
