"""Token tables that start from files of vectors."""

from pathlib import Path

import torch

from tietrain.data.table_files import keep_table_files, read_table_file
from tietrain.errors import SettingsError
from tietrain.model.transformer import Transformer
from tietrain.train.experiment import Experiment


def start_tables(experiment: Experiment, model: Transformer) -> list[str]:
    """Fill the tables of a model with initial values, and keep in the run directory what was read of the files.

    Returns:
        Notes that count the rows.
    Raises:
        SettingsError: vectors are not as wide as a table. DataError: of `read_table_file` and `TableFile.rows`.
    """
    tables = experiment.config.init_tables
    vocabularies = experiment.vocabularies or {}
    files = {
        use: read_table_file(Path(name).expanduser(), tables.contents[use], vocabularies.values())
        for use, name in tables.files.items()
    }
    notes = []
    stores = {store.name: store for store in experiment.plan.stores}
    for owner, use in experiment.started_tables.items():
        pieces, values = files[use].rows(vocabularies[stores[owner].stack])
        n_rows, width = stores[owner].shape
        requested = f"init_tables.{use}={tables.files[use]}"
        if values.shape[1] != width:
            problem = f"its vectors have {values.shape[1]} numbers, and the rows of {owner} have {width}"
            raise SettingsError(requested, problem, f"set model.d_model={values.shape[1]}, or name other vectors")
        with torch.no_grad():
            model.get_parameter(owner)[torch.from_numpy(pieces)] = torch.from_numpy(values)
        others = "; the others keep their own initial values" if len(pieces) < n_rows else ""
        notes.append(f"{requested}: {len(pieces):,} of {n_rows:,} rows of {owner} start from it{others}")
    if files:
        keep_table_files(experiment.directory, files, tables.contents)
    return notes
