"""TensorBoard itself over a study: it loads, draws the scalars, and its HParams table has one row per run."""

import http.client
import json
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from tietrain.runs.metrics import append_metrics
from tietrain.train.tensorboard import TensorBoard, add_results, final_scalars
from tiny_run import experiment_in, tiny_config

# Text of a page, that of its shadow roots included.
TEXT = """
const parts = [];
const walk = (node) => {
  if (node.nodeType === Node.TEXT_NODE) parts.push(node.textContent);
  for (const child of [...node.childNodes, ...(node.shadowRoot ? node.shadowRoot.childNodes : [])]) walk(child);
};
walk(document.body);
return parts.join(" ");
"""
STATUSES = [f"STATUS_{name}" for name in ("UNKNOWN", "SUCCESS", "FAILURE", "RUNNING")]
ASKED = json.dumps({"startIndex": 0, "sliceSize": 100, "colParams": [], "allowedStatuses": STATUSES})


def rows(address):
    """Of the HParams table, as the page asks for them."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
    connection.request("POST", "/data/plugin/hparams/session_groups", ASKED)
    with connection.getresponse() as answer:
        return json.loads(answer.read())["sessionGroups"] if answer.status == 200 else []


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    place = tmp_path_factory.mktemp("study")
    for tying in ("none", "three_way"):
        directory, config = place / tying, replace(tiny_config(tying, "mt"), study="s")
        directory.mkdir()
        where = [{"step": i, "tokens": 10 * i, "flops": i * 10**7, "seconds": float(i)} for i in (1, 2, 3)]
        samples = [{"a": "un", "reference": "one", "hypothesis": "two"}]
        rows = [{**at, "split": split, "nats_per_token": 3.0} for at in where for split in ("train", "valid")]
        append_metrics(directory, rows)
        experiment = experiment_in(directory, config)
        TensorBoard(experiment, print)
        finals = final_scalars(experiment, where[-1]["flops"], {"bleu": 31.25, "nats_per_token": 2.5})
        add_results(directory, finals, samples, where[-1], print)
    return place


@pytest.fixture(scope="module")
def address(study):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["--logdir", str(study), "--host", "127.0.0.1", "--port", str(port), "--load_fast=false"]
    served = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    with served:
        try:
            while f":{port}/" not in (line := served.stderr.readline()):
                assert line, "TensorBoard ended"
            yield f"http://127.0.0.1:{port}/"
        finally:
            served.send_signal(signal.SIGKILL)


def test_hparams_table_has_one_row_per_run(address, study, until):
    found = until(lambda: len(groups := rows(address)) == 2 and groups)
    assert sorted(row["hparams"]["tying"] for row in found) == ["none", "three_way"]
    assert [row["hparams"]["model.d_model"] for row in found] == ["16", "16"]
    for row in found:
        values = {value["name"]["tag"]: value["value"] for value in row["metricValues"]}
        tying = row["hparams"]["tying"]
        n_params = experiment_in(study / tying, tiny_config(tying, "mt")).params.params
        assert (values["final/params"], values["final/bleu"]) == (n_params, 31.25)


@pytest.mark.parametrize(
    ("tab", "wanted"),
    [("hparams", ("s/none", "s/three_way", "final/bleu", " 16 ")), ("scalars", ("valid", "by_flops"))],
)
def test_tensorboard_tabs_show_the_runs(address, quiet, until, tab, wanted):
    until(lambda: len(rows(address)) == 2)
    with quiet(address) as browser:
        browser.get(f"{address}#{tab}")
        until(lambda: all(word in browser.execute_script(TEXT) for word in wanted))
