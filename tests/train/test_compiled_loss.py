"""Model and loss compile to one graph, which serves batches of all lengths."""

from functools import partial

import pytest
import torch
from torch._dynamo.utils import counters

from tietrain.train.optim import with_dropout
from tietrain.train.tasks.task import batch_loss, compiled_for
from tiny_run import RandomTask, build_model, tiny_config


def graphs_of(monkeypatch, config, n_batches: int, backend: str) -> int:
    """How many graphs some batches take, each of them whole and of the loss and gradients of the eager model."""
    torch.compiler.reset()
    counters.clear()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend, fullgraph=True))
    model, batches = build_model(config), RandomTask(config).batches
    graph = compiled_for(config, model)
    for i in range(n_batches):
        epoch, index = divmod(i, batches.n_batches(0))
        batch = with_dropout(batches.batch(epoch, index), 1, i)
        found = []
        for compute in (model, graph):
            summed = batch_loss(compute, batch, 0.1)
            summed.objective.backward()
            found.append([summed.nll, *(p.grad for p in model.parameters())])
            model.zero_grad()
        for eager, mine in zip(*found, strict=True):
            torch.testing.assert_close(mine, eager, rtol=1e-4, atol=1e-4)
    n_graphs = counters["stats"]["unique_graphs"]
    torch.compiler.reset()
    return n_graphs


def test_model_and_loss_are_one_graph(monkeypatch):
    assert graphs_of(monkeypatch, tiny_config("pre_softmax", "lm"), 4, "eager") == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's compiler, about torch
@pytest.mark.parametrize("backend", ["eager", "inductor"])
@pytest.mark.parametrize("task", ["lm", "mt"])
def test_forty_batches_of_all_lengths_take_two_graphs(monkeypatch, task, backend):
    assert graphs_of(monkeypatch, tiny_config("cross_layer", task, batch_tokens=40), 40, backend) <= 2
