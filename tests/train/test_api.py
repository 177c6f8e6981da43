"""The functions of the package: what their page says, and that a program that calls them is left as it was."""

import doctest
import os
import signal
from pathlib import Path

import hydra
import pytest
import torch
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.singleton import Singleton
from omegaconf import OmegaConf
from omegaconf.basecontainer import BaseContainer
from omegaconf.resolvers import oc

import tietrain
from tietrain.errors import SettingsError
from tietrain.train import api, job

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def state_of_process() -> dict:
    """What a program may use beside tietrain."""
    return {
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "resolvers": dict(BaseContainer._resolvers),
        "hydra": GlobalHydra.instance().hydra,
        "registries": {cls: vars(kept).copy() for cls, kept in Singleton._instances.items()},
        "configurations": dict(ConfigStore.instance().repo),
        "signals": {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)},
        "torch": (torch.get_num_threads(), torch.get_deterministic_debug_mode(), torch.random.get_rng_state().tolist()),
    }


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A program with Hydra of another version_base at work, a resolver, a secret, and a handler of Ctrl-C of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET", "x")
    # Tests of the command line before this one leave Hydra as a command does, which ends with its process.
    monkeypatch.setattr(GlobalHydra.instance(), "hydra", None)
    monkeypatch.setattr(BaseContainer, "_resolvers", dict(BaseContainer._resolvers))
    OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)
    OmegaConf.register_new_resolver("host", lambda: "here")
    torch.use_deterministic_algorithms(False)
    handler = signal.signal(signal.SIGINT, lambda *_: None)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "own.yaml").write_text("a: ${oc.env:SECRET}${host:}\n")
    with hydra.initialize_config_dir(str(tmp_path / "conf"), version_base="1.2"):
        yield
        assert hydra.compose("own").a == "xhere"
    signal.signal(signal.SIGINT, handler)


def test_page_of_python_is_true_and_leaves_the_process_as_it_was(host):
    tietrain.make_plan()  # Hydra looks for plugins once
    before = state_of_process()
    found = doctest.testfile(str(PAGE), module_relative=False)
    assert found.failed == 0 and found.attempted > 15
    assert state_of_process() == before


def stopped(experiment, record, log, stop):
    os.kill(os.getpid(), signal.SIGTERM)
    torch.set_num_threads(3)
    torch.use_deterministic_algorithms(True)
    stop.check()


def test_run_that_is_stopped_or_refused_leaves_the_process_as_it_was(host, monkeypatch):
    tietrain.make_plan()
    before = state_of_process()
    monkeypatch.setattr(job, "_prepare", stopped)
    assert tietrain.run(["run_dir=a"]).exit_code == 128 + signal.SIGTERM
    assert state_of_process() == before
    for words in (["seed=1,2"], ["tune=rates"], ["study=${oc.env:SECRET}"], ["nope=1"]):
        with pytest.raises(SettingsError):
            tietrain.run(words)
        assert state_of_process() == before


def test_build_of_settings_has_their_seed_and_tables():
    words = ["model=tiny", "model.vocab_size=30", "seed=3"]
    plan = tietrain.make_plan(words)
    made, plain = tietrain.build(words), tietrain.build(plan, seed=3)
    assert made.plan.hash == plain.plan.hash and made.tables.embed_scale == 8 and plain.tables.embed_scale == 1
    name = "decoder.0.ffn.in.weight"
    assert torch.equal(made.parameter(name), plain.parameter(name))


def test_contract_names_every_function_once():
    assert set(tietrain.__all__) == {"__version__", *tietrain.PROVIDED}
    assert all(callable(getattr(tietrain, name)) for name in tietrain.PROVIDED)
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert {name for name in tietrain.PROVIDED if any(f"`{name}(" in row for row in rows)} == tietrain.PROVIDED.keys()
    assert {
        name for name in vars(api) if getattr(vars(api)[name], "__module__", "") == api.__name__ and name[0] != "_"
    } == {name for name, module in tietrain.PROVIDED.items() if module == api.__name__}
