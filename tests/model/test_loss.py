"""The chunked loss against PyTorch's own, value and gradient, in every precision it runs in."""

import pytest
import torch
import torch.nn.functional as F

from tietrain.data.tokenizer import PAD_ID
from tietrain.model import loss
from tietrain.model.loss import token_loss
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


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_token_loss_and_gradient_equal_cross_entropy(bias, smoothing):
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
