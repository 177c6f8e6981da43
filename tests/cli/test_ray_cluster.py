"""How Ray is connected: what it is told before it starts, what is said if it does not, and a start on a slow host."""

import os
import signal
import sys
from types import SimpleNamespace

import pytest

from tietrain.cli import ray_cluster
from tietrain.cli.launchers import has_own_cluster
from tietrain.errors import PeerError

SAID = "The current node timed out during startup. This could happen because some of the raylet failed to startup.\n"


@pytest.fixture
def stand_in(monkeypatch):
    """In the place of Ray: notes with what it is started, and fails if told so. No variable is set."""
    ray = SimpleNamespace(__version__="0", is_initialized=lambda: False, fails=None, begun=[])

    def init(*address, **options):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if ray.fails is not None:
            raise ray.fails
        ray.begun.append((*address, os.getcwd(), options))

    ray.init = init
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(os, "environ", {})
    return ray


def of_ray(environ):
    return {name: value for name, value in environ.items() if name.startswith("RAY_")}


@pytest.mark.parametrize(
    ("address", "variable", "is_own"),
    [
        (None, None, True),
        (None, "", True),
        ("local", "1.2.3.4:5", True),
        (None, "1.2.3.4:5", False),
        ("auto", None, False),
    ],
)
def test_has_own_cluster_unless_an_address_names_one(monkeypatch, address, variable, is_own):
    monkeypatch.setattr(os, "environ", {} if variable is None else {"RAY_ADDRESS": variable})
    assert has_own_cluster(address) == is_own


def test_connected_starts_a_cluster_with_patience_and_with_what_the_user_set(stand_in, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_cluster, "n_cores", lambda: 8)
    os.environ["RAY_DASHBOARD_STARTUP_TIMEOUT_S"] = "7"
    assert ray_cluster.connected(None, tmp_path) is stand_in
    (begun,) = stand_in.begun
    assert begun == ("local", str(tmp_path), {"num_cpus": 8, "include_dashboard": False, "logging_level": "warning"})
    defaults = {**ray_cluster.VARIABLES, **ray_cluster.OF_OWN_CLUSTER}
    assert of_ray(os.environ) == defaults | {"RAY_DASHBOARD_STARTUP_TIMEOUT_S": "7"}


def test_connected_joins_a_cluster_that_has_its_own_settings(stand_in, tmp_path):
    ray_cluster.connected("auto", tmp_path)
    assert stand_in.begun == [("auto", str(tmp_path), {"logging_level": "warning"})]
    assert of_ray(os.environ) == {**ray_cluster.VARIABLES, **ray_cluster.OF_OTHERS}


def test_connected_leaves_signals_and_folder_as_they_were(stand_in, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    handler = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        ray_cluster.connected(None, tmp_path)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
        assert os.getcwd() == str(tmp_path.parent)
    finally:
        signal.signal(signal.SIGTERM, handler)


def test_connected_says_what_to_do_if_ray_gives_up(stand_in, tmp_path, golden):
    said = {}
    for name, address, variable, failure in (
        ("starts", None, "", Exception(SAID)),
        ("address", "auto", "", ConnectionError("Could not find any running Ray instance.")),
        ("variable", None, "1.2.3.4:5", ConnectionError("Failed to connect to Ray cluster at 1.2.3.4:5")),
    ):
        os.environ["RAY_ADDRESS"] = variable
        stand_in.fails = failure
        with pytest.raises(PeerError) as e:
            ray_cluster.connected(address, tmp_path)
        assert e.value.exit_code == 8
        said[name] = str(e.value)
    golden("ray_refusals", said)
