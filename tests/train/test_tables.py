"""Tables kept while a run trains: those of the model, at the start and at each fifth of the budget, however often it stops."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tietrain.data.tokenizer import PAD_ID
from tietrain.runs.tables import FILE, kept_tables, read_tables
from tiny_run import RandomTask, build_model, tiny_config, train


def files(directory):
    return {step: (folder / FILE).read_bytes() for step, folder in kept_tables(directory).items()}


@pytest.mark.parametrize("norm_position", ["pre", "post"])
def test_tables_are_the_models_and_the_same_bytes_after_a_stop(tmp_path, norm_position):
    config = tiny_config("pre_softmax", max_steps=10, keep_tables=True)
    config = replace(config, model=replace(config.model, norm_position=norm_position))
    _, model = train(tmp_path / "whole", config)
    assert [*files(tmp_path / "whole")] == [0, 2, 4, 6, 8, 10]
    train(tmp_path / "stopped", config, stop_after=5)
    train(tmp_path / "stopped", config)
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")

    folders = kept_tables(tmp_path / "whole")
    for step, at in ((0, build_model(config)), (10, model)):
        last = "final_norm" if norm_position == "pre" else f"{config.model.n_layers - 1}.ffn_norm"
        gain = at.parameter(f"decoder.{last}.weight").detach().numpy()
        table = at.parameter("decoder.embed.weight").detach().numpy()
        found = read_tables(folders[step])
        assert np.array_equal(found["decoder.input"], table)
        assert np.array_equal(found["decoder.output"], table * gain)
        batch = RandomTask(config).batches.batch(0, 0)
        with torch.no_grad():
            hidden = at(batch.sources, batch.tgt_in_ids, stack=batch.stack)[batch.tgt_out_ids != PAD_ID]
            logits = at.logits(hidden).numpy().astype(np.float64)
        output = found["decoder.output"].astype(np.float64)
        spread = output @ found["decoder.contexts"] @ output.T
        np.testing.assert_allclose(spread, np.cov(logits.T), rtol=1e-3, atol=1e-5 * np.abs(spread).max())


def test_a_run_keeps_no_tables_unless_asked(tmp_path):
    train(tmp_path, tiny_config(max_steps=5))
    assert not kept_tables(tmp_path)
