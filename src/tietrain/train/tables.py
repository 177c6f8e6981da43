"""Token tables kept while a run trains, as `runs.tables` reads them."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from tietrain.data.batches.batching import Batch, split_batch
from tietrain.data.tokenizer import PAD_ID
from tietrain.model.transformer import Transformer, device_of
from tietrain.plan.slots import Stack
from tietrain.runs.durable import write_directory
from tietrain.runs.tables import FILE, folder_of

# Of a run, evenly spaced by its budget, beside the start.
N_POINTS = 5
# Of the batch whose contexts are summed up.
MAX_TOKENS = 4096


def are_due(before: float, now: float) -> bool:
    """Whether a step that led from one share of the budget to another reaches a point at which tables are kept."""
    return int(N_POINTS * now) > int(N_POINTS * before)


def keep_tables(directory: Path, model: Transformer, step: int, batch: Batch) -> None:
    """Write the tables as they are after a step; a continued run that comes there again writes the same bytes.

    Args:
        batch: whose contexts are summed up, the same at every step.
    """
    tables = {}
    for stack in model.shape.predictors:
        if not stack.n_features:
            tables[f"{stack.name}.input"] = model.parameter(f"{stack.input_block}.weight").detach()
            tables[f"{stack.name}.output"] = model.output_weights(stack.name)[0].detach() * _gain(model, stack)
    stack = model.shape.stack(batch.stack) if batch.stack else model.shape.predictors[0]
    tables[f"{stack.name}.contexts"] = _contexts(model, stack, batch)
    copies = {name: table.clone().contiguous() for name, table in tables.items()}
    n_bytes = sum(table.nbytes for table in copies.values())
    write_directory(folder_of(directory, step), lambda path: save_file(copies, path / FILE), n_bytes)


@torch.inference_mode()
def _contexts(model: Transformer, stack: Stack, batch: Batch) -> Tensor:
    """Covariance of what the output table multiplies, over the positions of a batch, [D, D]; the gain is in the table."""
    batch = split_batch(batch, MAX_TOKENS)[0].to(device_of(model))
    hidden = model(batch.sources, batch.tgt_in_ids, stack=batch.stack)[batch.tgt_out_ids != PAD_ID]  # [N, D]
    hidden = model.output_side(hidden, batch.stack).float() / _gain(model, stack)
    return torch.nan_to_num(torch.cov(hidden.T), posinf=0.0, neginf=0.0)


def _gain(model: Transformer, stack: Stack) -> Tensor | float:
    """Of the norm whose result the output table multiplies, [D]; 1 where a narrow table multiplies something else."""
    last = "final_norm" if model.shape.norm_position == "pre" else f"{stack.n_layers - 1}.ffn_norm"
    gain = model.parameter(f"{stack.name}.{last}.weight").detach()
    return gain if len(gain) == model.output_weights(stack.name)[0].shape[1] else 1.0
