"""The FLOP ledger against torch's counter, exactly, and against published values."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from tietrain.compose import compose_config
from tietrain.config import make_shape as shape_of_config
from tietrain.ledger.flops import count_flops, length_units
from tietrain.ledger.params import count_params
from tietrain.model import layers
from tietrain.tasks.loss import token_loss
from tietrain.tying.schemes import make_plan
from tiny_models import CASES, build, make_shape

B, T, S = 3, 7, 5
ATEN = torch.ops.aten


def _flash_forward(q, k, v, *args, out_shape=None, **kwargs):
    b, h, t, d = q
    return 2 * b * h * t * k[2] * (d + v[-1])


# torch 2.13 has no formula for the CPU's fused attention and counts it as nothing (pytorch issue 195460).
FUSED = {ATEN._scaled_dot_product_flash_attention_for_cpu: _flash_forward}


class NoUncountedAttention(TorchDispatchMode):
    """Fails where an attention kernel runs for which no formula is known."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        known = func.overloadpacket in flop_registry or func.overloadpacket in FUSED
        assert known or "attention" not in func.name(), f"{func.name()} is not counted"
        return func(*args, **(kwargs or {}))


def counted(run) -> int:
    with FlopCounterMode(display=False, custom_mapping=FUSED) as counter, NoUncountedAttention():
        run()
    return counter.get_total_flops()


def inputs(task: str) -> tuple[torch.Tensor | None, torch.Tensor]:
    source = torch.randint(4, 23, (B, S)) if task == "mt" else None
    return source, torch.randint(4, 23, (B, T))


def units(shape):
    lengths = {"decoder": [T] * B, "encoder": [S] * B}
    return length_units(shape, {stack.name: lengths[stack.name] for stack in shape.stacks})


@pytest.fixture(params=["products", "fused"])
def attention(request, monkeypatch):
    """Small attentions run as plain products; `fused` sends them through PyTorch's kernel."""
    if request.param == "fused":
        monkeypatch.setattr(layers, "SMALL_SCORES", {})


@pytest.mark.parametrize(("task", "scheme"), CASES)
def test_forward_equals_the_counter(task, scheme, attention):
    model = build(task, scheme, n_kv_heads=2, activation="swiglu", attn_bias=True)
    source, target = inputs(task)
    with torch.no_grad():
        assert counted(lambda: model.logits(model(source, target))) == count_flops(model.shape).forward(
            units(model.shape)
        )


@pytest.mark.parametrize(("task", "scheme"), CASES)
def test_training_equals_the_counter(task, scheme, attention):
    """Under the math kernel; the fused one computes scores again on the way back, which is hardware work."""
    model = build(task, scheme, output_bias=True)
    source, target = inputs(task)
    with sdpa_kernel(SDPBackend.MATH):
        by_logits = counted(lambda: model.logits(model(source, target)).sum().backward())
        by_loss = counted(lambda: token_loss(model, model(source, target), target, 0.1).objective.backward())
    assert by_logits == by_loss == count_flops(model.shape).training(units(model.shape))


@pytest.mark.parametrize(
    "options",
    [{"d_head": 6}, {"norm_position": "post", "activation": "relu"}, {"n_kv_heads": 1}, {"positions": "learned"}],
)
@pytest.mark.parametrize("task", ["lm", "mt"])
def test_forward_of_other_shapes(task, options):
    model = build(task, "none", **options)
    with torch.no_grad():
        assert counted(lambda: model.logits(model(*inputs(task)))) == count_flops(model.shape).forward(
            units(model.shape)
        )


def test_the_detector_sees_an_uncounted_kernel(monkeypatch):
    monkeypatch.setattr(layers, "SMALL_SCORES", {})
    monkeypatch.setattr("test_flops.FUSED", {})
    with pytest.raises(AssertionError, match="flash_attention_for_cpu"), torch.no_grad():
        counted(lambda: build("lm", "none")(*inputs("lm")))


@pytest.mark.parametrize("order", ["sequence", "cycle", "cycle_rev"])
def test_depth_costs_and_ties_do_not(order):
    """Source: Takase & Kiyono 2021 (X3): the stack of N = 6, 12, 18 layers costs 1 : 2 : 3, whatever it shares."""
    costs = []
    for n in (6, 12, 18):
        shape = make_shape("lm", n_layers=n)
        plan = make_plan(shape, {"layers": {"rule": "cross_layer", "order": order, "n_unique": 6}})
        head = 2 * 23 * 16 * B * T
        costs.append(count_flops(plan.slots.shape).forward(units(shape)) - head)
    assert costs[1:] == [2 * costs[0], 3 * costs[0]]


def vaswani_base():
    return shape_of_config(compose_config(["task=mt", "model=vaswani_base", "tying=three_way"]))


def test_vaswani_base_sentence():
    """S = T = 25 pieces, 37,000 pieces of vocabulary, forward."""
    shape = vaswani_base()
    assert count_flops(shape).forward(length_units(shape, {"encoder": [25], "decoder": [25]})) == 3_172_249_600


def test_terms_of_one_layer_and_where_they_cross():
    """d 512, f 2,048, per token forward: feed-forward, projections, scores a token of context."""
    terms = {t.slot: t for t in count_flops(vaswani_base()).terms if t.slot.startswith("encoder.0.")}
    ffn, scores = terms["encoder.0.ffn"].per_unit, terms["encoder.0.self_attn.scores"].per_unit
    projections = sum(terms[f"encoder.0.self_attn.{m}"].per_unit for m in "qkvo")
    assert (ffn, projections, scores) == (4_194_304, 2_097_152, 2_048)
    assert scores * 1024 + projections == ffn
    assert scores * 2048 == ffn
    assert scores * 3072 == ffn + projections


def test_encoder_decoder_formula():
    """One pair of S and T tokens, forward, in closed form."""
    s, t, d, f, v = 11, 13, 512, 2048, 37_000
    encoder = s * (8 * d * d + 4 * d * f) + 4 * s * s * d
    cross = 4 * t * d * d + 4 * s * d * d + 4 * s * t * d
    decoder = t * (8 * d * d + 4 * d * f) + 4 * t * t * d + cross
    shape = vaswani_base()
    wanted = 6 * (encoder + decoder) + 2 * t * d * v
    assert count_flops(shape).forward(length_units(shape, {"encoder": [s], "decoder": [t]})) == wanted


@pytest.mark.parametrize(("biases", "ratio"), [(False, 1.00013), (True, 1.00085)])
def test_palm_formula_on_gpt2(biases, ratio):
    """Source: Chowdhery et al. 2022, appendix B (X7): 6 N + 12 L H Q T per token, N without the position table."""
    switches = [f"model.{part}_bias={str(biases).lower()}" for part in ("attn", "ffn", "norm")]
    config = compose_config(["task=lm", "model=gpt2", "tying=pre_softmax", *switches])
    shape, t = shape_of_config(config), 1024
    n = count_params(make_plan(shape, config.tying.ties)).params - t * 768
    palm = (6 * n + 12 * 12 * 768 * t) * t
    explicit = count_flops(shape).training(length_units(shape, {"decoder": [t]}))
    assert round(palm / explicit, 5) == ratio
    logits = next(term.per_unit for term in count_flops(shape).terms if term.slot == "decoder.output")
    assert round(explicit / 1e9, 1) == pytest.approx(874.9, abs=0.2)
    assert round(3 * logits * t / explicit, 3) == 0.271
