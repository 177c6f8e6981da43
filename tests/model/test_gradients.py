"""The gradient of a tied parameter is the sum over the uses of an untied twin, for every scheme.

Tying bugs 34 and 35: a gradient counted twice, a gradient of one use lost.
"""

import pytest
import torch

from tietrain.tasks.loss import token_loss
from tiny_models import CASES, build, untied_twin


@pytest.mark.parametrize(("task", "scheme"), CASES)
def test_tied_gradient_is_the_sum_of_untied_ones(task, scheme):
    model = build(task, scheme, attn_bias=True, norm_bias=True, positions="learned").double()
    twin = untied_twin(model)
    generator = torch.Generator().manual_seed(1)
    source, target, wanted = (torch.randint(4, 23, (3, n), generator=generator) for n in (5, 7, 7))
    losses = []
    for m in (model, twin):
        summed = token_loss(m, m(source if task == "mt" else None, target), wanted, 0.1)
        summed.objective.backward()
        losses.append(summed.objective)
    torch.testing.assert_close(losses[0], losses[1])
    for owner, uses in model.plan.uses.items():
        total = sum(twin.parameter(use).grad for use in uses)
        torch.testing.assert_close(model.parameter(owner).grad, total, rtol=1e-8, atol=1e-12)
        assert all(twin.parameter(use).grad.any() for use in uses), owner
