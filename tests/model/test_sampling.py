"""Samples follow the model's distribution, depend on seed, number and position alone, and pass the window's end."""

import pytest
import torch
from slow_decoding import peaked

from tietrain.data.tokenizer import BOS_ID, EOS_ID, PAD_ID
from tietrain.model.sampling import Sampling, draw, sample, uniforms


def test_sample_does_not_depend_on_the_others():
    model, settings = peaked("lm", "cycle-2"), Sampling(seed=4)
    together = sample(model, [4, 5], range(6), 20, 100, settings)
    assert len(set(map(tuple, together))) > 1
    for number in range(6):
        assert sample(model, [4, 5], [number], 20, 100, settings) == [together[number]]
    assert sample(model, [4, 5], [2], 7, 100, settings)[0] == together[2][:7]
    assert sample(model, [4, 5], range(6), 20, 100, Sampling(seed=5)) != together


def test_draw_takes_pieces_as_often_as_they_are_probable():
    logits = torch.tensor([[0.0, 1.0, 0.0, 2.0, 0.5, -1.0]])
    logits[:, [PAD_ID, BOS_ID]] = 9.0  # never drawn
    expected = logits.clone() / 0.7
    expected[:, [PAD_ID, BOS_ID]] = -torch.inf
    n = 20_000
    drawn = draw(logits.repeat(n, 1), torch.from_numpy(uniforms(n, 1, 0)), Sampling(temperature=0.7))
    frequency = torch.bincount(drawn, minlength=6) / n
    # Five standard deviations of a frequency of one half.
    assert torch.allclose(frequency, expected.softmax(1)[0], atol=5 * 0.5 / n**0.5)


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        (Sampling(top_k=2), {4, 5}),
        (Sampling(top_p=0.5), {4}),
        (Sampling(top_p=0.51), {4, 5}),
        (Sampling(top_p=0.85), {4, 5, 6}),
        (Sampling(top_k=3, top_p=0.99), {4, 5, 6}),
    ],
)
def test_draw_with_top_k_and_top_p_leaves_out_the_rest(settings, kept):
    probs = torch.tensor([0.0, 0.0, 0.0, 0.05, 0.5, 0.3, 0.15])
    drawn = draw(probs.log().repeat(2000, 1), torch.from_numpy(uniforms(2000, 1, 0)), settings)
    assert set(drawn.tolist()) == kept


def test_draw_at_the_ends_of_the_unit_interval():
    probs = torch.tensor([[0.0, 0.0, 0.0, 0.25, 0.75, 0.0]]).log().repeat(2, 1)
    uniform = torch.tensor([0.0, 1 - 2.0**-53], dtype=torch.float64)
    assert draw(probs, uniform, Sampling()).tolist() == [4, EOS_ID]


@torch.no_grad()
def test_sample_reads_the_last_half_again_past_the_window():
    model, prompt, window = peaked("lm", "none", positions="learned", max_len=8), [4, 5, 6], 8
    (drawn,) = sample(model, prompt, [0], 20, window, Sampling(top_k=1))
    written, start = [EOS_ID, *prompt], 0
    for _ in range(20):
        if len(written) - start > window:
            start = len(written) - window // 2
        scores = model.logits(model.decode(torch.tensor([written[start:]])))[0, -1]
        scores[[PAD_ID, BOS_ID]] = -torch.inf
        written.append(int(scores.argmax()))
    assert drawn == written[4:]
