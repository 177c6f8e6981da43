"""Settings of the whole suite: no network, one thread, no display."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.update(
    HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", OMP_NUM_THREADS="1", MPLBACKEND="Agg", TOKENIZERS_PARALLELISM="false"
)

# A busy machine is not a failing test, and the same examples every time make a red suite repeatable.
settings.register_profile("suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

GOLDEN = Path(__file__).parent / "golden"


def pytest_configure(config: pytest.Config) -> None:
    """Only tests that are marked gpu see GPUs: the others have the numbers and messages of a CPU everywhere."""
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the texts of tests/golden/ anew")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, Mapping[str, str]], None]:
    """Compare a family of texts (name -> text) with tests/golden/FAMILY.txt, or write that file with --update-golden.

    A better sentence changes that one file; what a test asserts beside it is the exit code, the setting and the file.
    """

    def compare(family: str, texts: Mapping[str, str]) -> None:
        path = GOLDEN / f"{family}.txt"
        body = "".join(f"## {name}\n{text.rstrip()}\n\n" for name, text in texts.items())
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(body, encoding="utf-8")
        assert path.read_text(encoding="utf-8") == body, (
            f"if the new text is better: pytest --update-golden {request.node.nodeid}"
        )

    return compare


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without figures, which take most of their time."""
    monkeypatch.setattr("tietrain.report.write.draw_all", lambda *_: [])


@pytest.fixture(autouse=True, scope="session")
def fp32() -> Iterator[None]:
    """hardware.precision=auto is fp32 in this process on every CPU, so that a test has the same numbers everywhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tietrain.train.hardware.FAST_BF16", ())
        yield


@pytest.fixture(autouse=True, scope="session")
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One cache for the whole session, whatever its processes; tests write nothing in the user's home."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared / "caches"))
        yield


@pytest.fixture(autouse=True)
def stop_signals() -> Iterator[None]:
    """A run that was stopped ignores signals until its process ends; this process goes on."""
    _listen()
    yield
    _listen()


def _listen() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    signal.signal(signal.SIGUSR2, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
