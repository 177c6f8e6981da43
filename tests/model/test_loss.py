"""The chunked loss against PyTorch's own, value and gradient, in every precision it runs in."""

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tietrain.data.tokenizer import PAD_ID
from tietrain.model import layers, loss
from tietrain.model.loss import token_loss, token_nats
from tiny_models import build

V, D = 23, 16


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks of 64 rows, the least, so that a batch has several."""
    monkeypatch.setattr(loss, "CHUNK_LOGITS", {"cpu": 1})


def case(*, bias: bool = False, dtype=torch.float64, rows: int = 5, width: int = 40):
    torch.manual_seed(0)
    model = build("lm", "none", output_bias=bias).to(dtype)
    if bias:
        torch.nn.init.normal_(model.parameter("decoder.output.bias"))
    hidden = torch.randn(rows, width, D, dtype=dtype, requires_grad=True)
    targets = torch.randint(4, V, (rows, width))
    targets[1, 20:] = PAD_ID
    targets[3, :7] = PAD_ID
    return model, hidden, targets


def reference(model, hidden, targets, smoothing):
    logits = model.logits(hidden).flatten(0, 1)
    return F.cross_entropy(logits, targets.flatten(), ignore_index=PAD_ID, label_smoothing=smoothing, reduction="sum")


@pytest.mark.parametrize("columns", [1, 64])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_token_loss_and_gradient_equal_cross_entropy(monkeypatch, columns, bias, smoothing):
    monkeypatch.setattr(layers, "COLUMNS", {"cpu": columns})
    model, hidden, targets = case(bias=bias)
    leaves = [hidden, *(p for p in model.output_weights() if p is not None)]
    mine = token_loss(model, hidden, targets, smoothing)
    wanted = reference(model, hidden, targets, smoothing)
    torch.testing.assert_close(mine.objective, wanted, rtol=1e-12, atol=0)
    torch.testing.assert_close(mine.nll, reference(model, hidden, targets, 0.0).detach(), rtol=1e-12, atol=0)
    assert mine.n_tokens == int((targets != PAD_ID).sum()) == 173
    grads = torch.autograd.grad(mine.objective / 7, leaves)
    for grad, right in zip(grads, torch.autograd.grad(wanted / 7, leaves), strict=True):
        torch.testing.assert_close(grad, right, rtol=1e-10, atol=1e-12)


def test_token_nats_do_not_depend_on_the_columns_of_a_product(monkeypatch):
    model, hidden, targets = case(bias=True)
    plain = token_nats(model, hidden, targets)
    monkeypatch.setattr(layers, "COLUMNS", {"cpu": 64})
    torch.testing.assert_close(token_nats(model, hidden, targets), plain, rtol=1e-12, atol=0)


class Passes(TorchDispatchMode):
    """Notes the operators inside that read or write the logits of a chunk: all n V, among n W columns."""

    OF_FEW = ("aten.slice.", "aten.t.", "aten.detach.", "aten.new_full.", "aten.gather.", "aten.scatter_add_.")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        shapes = {tuple(t.shape) for t in tree_leaves((args, found)) if isinstance(t, torch.Tensor)}
        if shapes & {(40, V), (40, 64), (64, 40)} and not str(func).startswith(self.OF_FEW):
            self.seen.append(str(func).split(".")[1])
        return found


def test_device_passes_over_padded_logits_so_often(monkeypatch):
    """V becomes a multiple of 64, and two more passes are of smoothing. Compiled, all between the products are one."""
    monkeypatch.setattr(loss, "_product_dtype", lambda rows: torch.bfloat16)
    monkeypatch.setattr(torch, "autocast", lambda *args, **options: nullcontext())
    weight, rows = torch.empty(V, D, device="meta"), torch.empty(40, D, device="meta")
    targets = torch.empty(40, dtype=torch.int64, device="meta")
    with Passes() as passes:
        loss._ChunkedCrossEntropy.apply(rows, weight, None, targets, 0.1, True)
    assert passes.seen == ["mm", "_to_copy", "_log_softmax", "mean", "exp_", "sub_", "_to_copy", "mm", "mm"]


def test_token_loss_gradcheck():
    model, hidden, targets = case(bias=True, rows=4, width=24)
    hidden = hidden.detach()[:, :, :].requires_grad_()
    weight, bias = model.output_weights()

    def objective(hidden, weight, bias):
        rows, wanted, _ = loss._real_rows(hidden, targets, None)
        return loss._ChunkedCrossEntropy.apply(rows, weight, bias, wanted, 0.1, True)[0]

    assert torch.autograd.gradcheck(objective, (hidden, weight, bias), fast_mode=True)


def test_token_loss_without_gradient():
    model, hidden, targets = case(dtype=torch.float32)
    with torch.no_grad():
        summed = token_loss(model, hidden, targets)
    assert not summed.objective.requires_grad
    torch.testing.assert_close(summed.objective, reference(model, hidden, targets, 0.0).detach(), rtol=1e-5, atol=0)


def test_token_loss_gives_a_shared_table_the_gradient_of_both_readings():
    model = build("lm", "pre_softmax").double()
    ids, targets = torch.randint(4, V, (3, 9)), torch.randint(4, V, (3, 9))
    token_loss(model, model(None, ids), targets).objective.backward()
    mine = model.parameter("decoder.embed.weight").grad.clone()
    model.zero_grad()
    reference(model, model(None, ids), targets, 0.0).backward()
    torch.testing.assert_close(mine, model.parameter("decoder.embed.weight").grad, rtol=1e-10, atol=1e-12)


def test_token_loss_accumulates_over_micro_batches():
    model, hidden, targets = case()
    weight = model.parameter("decoder.output.weight")
    token_loss(model, hidden, targets).objective.backward()
    whole = weight.grad.clone()
    weight.grad = None
    for i in range(len(targets)):
        token_loss(model, hidden[i : i + 1], targets[i : i + 1]).objective.backward()
    torch.testing.assert_close(weight.grad, whole, rtol=1e-10, atol=1e-12)


def test_token_loss_in_autocast_multiplies_in_bfloat16_and_normalizes_in_float32():
    model, hidden, targets = case(dtype=torch.float32, bias=True)
    leaves = [hidden, *model.output_weights()]
    wanted = reference(model, hidden, targets, 0.1)
    right = torch.autograd.grad(wanted, leaves)
    with torch.autocast("cpu", torch.bfloat16):
        mine = token_loss(model, hidden, targets, 0.1)
    grads = torch.autograd.grad(mine.objective, leaves)
    assert mine.objective.dtype == torch.float32
    assert [g.dtype for g in grads] == [torch.float32] * 3
    torch.testing.assert_close(mine.objective, wanted, rtol=2e-3, atol=0)
    for grad, exact in zip(grads, right, strict=True):
        assert (grad - exact).norm() < 0.01 * exact.norm()
    # The product is what bfloat16 rounds: the same logits, rounded once, give the same sum to float32 accuracy.
    weight, bias = model.output_weights()
    logits = (hidden.bfloat16() @ weight.bfloat16().t()).float() + bias
    rounded = F.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=PAD_ID, label_smoothing=0.1, reduction="sum"
    )
    torch.testing.assert_close(mine.objective, rounded, rtol=1e-5, atol=0)


def test_token_loss_of_nothing_is_zero_with_zero_gradient():
    model, hidden, targets = case()
    summed = token_loss(model, hidden, torch.full_like(targets, PAD_ID))
    summed.objective.backward()
    assert summed.n_tokens == 0 and summed.objective.item() == 0
    assert not hidden.grad.any()


def test_token_loss_of_extreme_logits_is_finite():
    model, hidden, targets = case(dtype=torch.float32)
    summed = token_loss(model, hidden * 1e4, targets)
    summed.objective.backward()
    assert torch.isfinite(summed.objective) and torch.isfinite(hidden.grad).all()
