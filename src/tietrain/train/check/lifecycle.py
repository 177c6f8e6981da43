"""Is every tie still one tensor after whatever is done to a model? One function per way; each is audited."""

import copy
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from tietrain.config import OptimConfig
from tietrain.errors import TietrainError, first_line
from tietrain.model.audit import audit_model, audit_optimizer
from tietrain.model.transformer import Transformer
from tietrain.train.averaging import mean_weights, smooth
from tietrain.train.check.reference import CheckFailed, draw_batches, require, require_close, summed_loss
from tietrain.train.checkpoint import load_checkpoint, load_weights, save_checkpoint, save_final
from tietrain.train.optim import build_optimizer, set_learning_rate
from tietrain.train.tasks.task import compiled

OPTIMIZERS = ("adamw", "adam", "sgd")
Way = Callable[[Transformer], Transformer]


def optimizer_config(name: str) -> OptimConfig:
    """Settings under which an optimizer's whole arithmetic shows: decay on, of tables too, momentum on, clipping off.

    eps is large enough for Adam not to make steps of gradients that are 0 but for rounding, as a key bias has them.
    """
    momentum = 0.9 if name == "sgd" else 0.0
    return OptimConfig(
        name=name, lr=1e-2, weight_decay=0.1, momentum=momentum, eps=1e-6, clip_norm=None, decay_tables=True
    )


def _moved(model: Transformer) -> Transformer:
    """On the GPU if there is one; else in new memory, through the method that `Module.to` moves with."""
    again = copy.deepcopy(model)
    return again.to("cuda") if torch.cuda.is_available() else again._apply(torch.clone)


def _built_again(model: Transformer, device: str = "cpu") -> Transformer:
    with torch.device(device):
        return Transformer(model.plan, tables=model.tables)


def _by_meta(model: Transformer) -> Transformer:
    """Tying bug 3: a tie made on the meta device is two tensors after `to_empty`."""
    again = _built_again(model, "meta").to_empty(device="cpu")
    again.load_state_dict(model.state_dict())
    return again


def _by_assign(model: Transformer) -> Transformer:
    """Tying bug 5: assignment is per name."""
    again = _built_again(model, "meta")
    again.load_state_dict({name: p.clone() for name, p in model.state_dict().items()}, assign=True)
    return again


def _fresh(model: Transformer, seed: int = 0) -> Transformer:
    """A model of other values."""
    again = _built_again(model)
    again.initialize(seed)
    return again


def _saved(model: Transformer) -> Transformer:
    """Through a checkpoint with its optimizer, then through final weights."""
    trained, continued, started = copy.deepcopy(model), _fresh(model), _fresh(model)
    optimizer, other = (build_optimizer(m, optimizer_config("adamw")) for m in (trained, continued))
    set_learning_rate(optimizer, 0.0)  # moments move, weights stay
    summed_loss(trained, draw_batches(model, 2, 4, 5), 0.0).backward()
    optimizer.step()
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(Path(folder), 1, trained, optimizer, {})
        load_checkpoint(Path(folder), continued, other, lambda body: None, lambda line: None)
        save_final(Path(folder), continued)
        load_weights(Path(folder), started)
    audit_model(continued)
    audit_optimizer(continued, other)
    for name, p in trained.named_parameters():
        saved = optimizer.state[p]
        loaded = other.state.get(continued.get_parameter(name), {})
        same = saved.keys() == loaded.keys() and all(torch.equal(saved[key], loaded[key]) for key in saved)
        require(same, f"optimizer state of {name}", "other values than before")
    return started


def _averaged(model: Transformer) -> Transformer:
    """The mean of three equal checkpoints; that of different ones, and a moving one, must be every slot's own.

    Tying bug 39: a shared tensor accumulated once per name.
    """
    models = [model, _fresh(model), _fresh(model, seed=1)]
    mean, smoothed = _mean(models), _fresh(model)
    smooth(smoothed, model, decay=0.5, step=100)
    for store in model.plan.stores:
        a, b, c = (m.get_parameter(store.name).detach().double() for m in models)
        for kind, averaged, wanted in (("average", mean, (a + b + c) / 3), ("moving average", smoothed, (a + b) / 2)):
            got = averaged.get_parameter(store.name).detach().double()
            require_close(f"{kind} of {store.name}", got, wanted, rtol=1e-6, atol=0.0)
    audit_model(mean)
    audit_model(smoothed)
    return _mean([model] * 3)


def _mean(models: list[Transformer]) -> Transformer:
    mean = _fresh(models[0])
    mean.load_state_dict(mean_weights([m.state_dict for m in models]))
    return mean


def _optimized(model: Transformer) -> Transformer:
    """Held by every optimizer. Tying bug 37: a parameter listed twice is stepped twice."""
    for name in OPTIMIZERS:
        audit_optimizer(model, build_optimizer(model, optimizer_config(name)))
    return model


WAYS: dict[str, Way] = {
    "build": lambda model: model,
    "device move": _moved,
    "dtype change": lambda model: copy.deepcopy(model).double().float(),
    "deepcopy": copy.deepcopy,
    "meta build": _by_meta,
    "assigned load": _by_assign,
    "save and load": _saved,
    "averaging": _averaged,
    "optimizer": _optimized,
}


def check_ties(model: Transformer, ways: Mapping[str, Way] = WAYS) -> str:
    """Every slot reads its owner's tensor, with its values, after each way; returns which ways were tried.

    Raises:
        CheckFailed: names the way and the slots.
    """
    for name, way in ways.items():
        try:
            again = way(model)
            audit_model(again)
            values = {slot.name: again.parameter(slot.name).cpu() for slot in model.plan.slots}
            changed = [name for name, value in values.items() if not torch.equal(value, model.parameter(name))]
            extras = {name: again.get_parameter(name).cpu() for name in model.plan.extras}
            changed += [name for name, value in extras.items() if not torch.equal(value, model.get_parameter(name))]
            require(not changed, ", ".join(changed[:3]), "other values than before")
        except TietrainError as e:
            raise CheckFailed(f"after {name}: {e.setting}", e.problem) from e
        except RuntimeError as e:  # torch's, for example of names a state dict has not
            raise CheckFailed(f"after {name}", first_line(e)) from e
    device = "to a GPU" if torch.cuda.is_available() else "within CPU memory: no GPU here"
    return f"{', '.join(ways)} (moved {device})"


def check_compile(model: Transformer, backend: str = "aot_eager") -> str:
    """Loss and gradients of model and loss, compiled as one graph, equal eager ones, and the ties hold; returns the backend.

    The default backend traces forward and backward as every other does and generates no code, which is where ties can
    be lost. Tying bug 34: a traced graph returned a tied gradient twice.

    Raises:
        CheckFailed: names what differs.
    """
    batches, graphs = draw_batches(model, 3, 5, 7), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of its own parts
        for in_graph in (False, True):
            copied = copy.deepcopy(model)
            compute = compiled(copied, backend=backend, fullgraph=True) if in_graph else copied
            objective = summed_loss(compute, batches, 0.1)
            objective.backward()
            audit_model(copied)
            graphs.append({"the loss": objective.detach()} | gradients(copied))
        torch.compiler.reset()
    for name, eager in graphs[0].items():
        require_close(f"compiled by {backend}: {name}", graphs[1][name], eager, rtol=1e-4, atol=1e-5)
    return backend


def gradients(model: Transformer) -> dict[str, Tensor]:
    """Owner -> its gradient; zeros if nothing reached it."""
    return {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in model.named_parameters()}
