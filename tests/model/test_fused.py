"""What the compiler makes one loop of: code for a CPU shows which results are written to memory between two loops."""

import re
from collections import Counter

import pytest
import torch
from torch._inductor.utils import run_and_get_code
from torch.utils._python_dispatch import TorchDispatchMode

from tietrain.model import layers, loss
from tietrain.model.beam import Search, _Beams
from tietrain.model.graph import step_of
from tietrain.model.layers import dropout, token_seeds
from tiny_models import build

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")]


def code_of(compute, leaves: list[torch.Tensor]) -> str:
    """Forward and backward as the compiler writes them; their gradients are those of eager code."""
    torch.compiler.reset()
    compiled = torch.compile(compute, fullgraph=True)
    found, code = run_and_get_code(lambda: torch.autograd.grad(compiled(), leaves))
    torch.testing.assert_close(found, torch.autograd.grad(compute(), leaves), rtol=1e-5, atol=1e-5)
    return "".join(code)


def kept(code: str, shape: str) -> list[str]:
    """Types of the results of a shape."""
    return re.findall(rf"empty_strided_cpu\(\({shape}\), .*, torch\.(\w+)\)", code)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_logits_are_kept_once_and_not_in_float32(monkeypatch, smoothing):
    monkeypatch.setattr(layers, "COLUMNS", {"cpu": 64})
    rows, weight = torch.randn(200, 32, requires_grad=True), torch.randn(1003, 32, requires_grad=True)
    targets = torch.randint(1003, (200,))

    def objective() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return loss._ChunkedCrossEntropy.apply(rows, weight, None, targets, smoothing, True)[0]

    assert kept(code_of(objective, [rows, weight]), "200, 1024") == ["bfloat16"]


def test_dropout_keeps_masks_alone():
    x = torch.randn(8, 50, 128, requires_grad=True)
    matrix = (torch.randn(128, 128) / 20).requires_grad_()
    row_seeds = torch.arange(8, dtype=torch.int32)

    def two_places() -> torch.Tensor:
        seeds = token_seeds(row_seeds, torch.arange(50))
        y = x + dropout(x @ matrix, 0.1, seeds, 77)
        return (y + dropout(y @ matrix, 0.1, seeds, -5)).square().mean()

    code = code_of(two_places, [x, matrix])
    assert set(kept(code, r"8, 50, \d+")) <= {"uint8", "float32"}  # no hashes


class Operators(TorchDispatchMode):
    """Counts the operators inside that compute something."""

    VIEWS = ("aten.view", "aten._unsafe_view.", "aten.t.", "aten.transpose.", "aten.unsqueeze.", "aten.expand.")
    VIEWS += ("aten.slice.", "aten.select.", "aten.split", "aten.detach.", "aten.squeeze.", "aten.alias.")
    NOTHING = (*VIEWS, "aten.promote_types.", "aten.lift_fresh.", "aten.empty", "aten.new_empty")

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if not str(func).startswith(self.NOTHING):
            self.seen[str(func)] += 1
        return func(*args, **(kwargs or {}))


def test_step_of_a_search_is_a_third_of_the_calls():
    torch.compiler.reset()
    model = build("mt", "none", n_layers=2, max_len=60, vocab_size=1000)
    model.compile_steps()
    with torch.no_grad(), model.keeping({}):
        start = torch.ones(4, 1, dtype=torch.long)
        memory = model.encode({"encoder": torch.full((4, 9), 5)})
        beams = _Beams(model, memory, start, start[:, 0] + 40, Search(beam=5))
        beams.step()
        beams.step()
        with Operators() as eager:
            beams.step()
        _, code = run_and_get_code(step_of(model, _Beams.step, beams.cache, 5), beams)
    written = "".join(code).split("def call(")[1]
    calls = re.findall(r"^ +(?:buf\d+ = )?(?:cpp_fused|extern_kernels\.|torch\.ops\.)", written, re.MULTILINE)
    assert (eager.seen.total(), len(calls)) == (149, 50)
