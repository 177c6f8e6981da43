"""What `tietrain data` shows of a corpus that knows its own generator."""

import math

import pytest

from tietrain.config.compose import compose_config
from tietrain.data.prepare import prepare
from tietrain.train.tasks.describe import describe_data


def test_describe_data_states_the_perplexity_of_a_perfect_model(tmp_path):
    config = compose_config(["data=xor", "model=tiny", "model.vocab_size=68", f"data.cache={tmp_path}"])
    # Three words and the end of the line.
    nats = prepare(config).corpus.splits["test"].generator_nats
    found = describe_data(config)["ceilings"]
    assert found["test"] == {"generator_ppl_word": pytest.approx(math.exp(math.fsum(nats) / (4 * len(nats))))}
    assert set(found) == {"valid", "test"}
