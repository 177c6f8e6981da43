"""A dataset of the Hugging Face hub, or a folder `datasets` reads -> checked lines of every split.

`datasets` and `huggingface_hub` are imported only when this corpus is chosen. No code of a dataset runs: `datasets` 4
and later have no loader for scripts.
"""

import functools
import itertools
import logging
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tietrain.config import DataConfig
from tietrain.data.beside import call_beside
from tietrain.data.sources.files import Corpus, Split
from tietrain.data.sources.named import named_splits, text_columns
from tietrain.data.sources.validate import file_sha256, of_machine
from tietrain.data.stored_lines import store_for
from tietrain.errors import DataError, SettingsError, storage_error

if TYPE_CHECKING:
    from datasets import Dataset

# Limit for an answer of the hub. Its client has its own time limit, but the resolution of its name has none.
REACH_SECONDS = 8.0
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def load_hub(data: DataConfig, task: str, cache: Path, store: Path) -> Corpus:
    """The lines of every split.

    Args:
        cache: folder for `datasets` when it reads a folder, one for every content. A hub dataset lies where
            `datasets` keeps all of them, so that one loaded before is found without network.
        store: folder for the lines of train.
    Raises:
        DataError: the hub cannot be reached, or has no such dataset; else as `corpora.load_corpus`.
    """
    from tietrain.data.sources.parquet import find_columns, read_texts

    columns = text_columns(data, task)
    splits = named_splits(data)
    folder = _folder(data)
    for name in data.features:
        problem = "of data.format=hub only text is read"
        raise SettingsError(f"data.features.{name}", problem, "keep the vectors in a Parquet file, data=parquet")
    tables = _load(data, folder, cache)
    lengths = {name: len(table) for name, table in tables.items()}
    name = folder.name if folder else str(data.dataset)
    corpus = Corpus(f"{name} {data.subset}" if data.subset else name, columns)
    if not folder:
        corpus.notes.append(f"commit {_commit(data)} of {data.dataset}")
    for split, specs in splits.items():
        texts = {column: store_for(split, store)() for column in columns}
        for part in itertools.chain.from_iterable(_parts(lengths, spec, split, data) for spec in specs):
            table, where = tables[part.splitname], f"{data.dataset} {part.splitname}"
            paths = find_columns(table.features.arrow_schema, columns, where)
            used = table.select_columns(list(dict.fromkeys(path[0] for path in paths)))
            batches = used.with_format("arrow")[part.from_ : part.to].to_batches()
            read_texts(texts, batches, paths, where, task == "mt", part.from_ + 1)
        corpus.splits[split] = Split({**texts})
    return corpus


def hub_key(data: DataConfig) -> dict[str, Any]:
    """All that decides the corpus besides its columns: the files of the folder or the commit on the hub; the splits."""
    folder = _folder(data)
    if folder is None:
        source = {"commit": _commit(data)}
    else:
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()]
        # Not the hidden ones: .git, or the records a download leaves.
        source = {name: file_sha256(folder / name, _named(data)) for name in names if "/." not in f"/{name}"}
    return {"source": source, "subset": data.subset, "splits": named_splits(data)}


def _named(data: DataConfig) -> str:
    stated = [(key, getattr(data, key)) for key in ("dataset", "subset", "revision")]
    return " ".join(f"data.{key}={value}" for key, value in stated if value is not None)


def _folder(data: DataConfig) -> Path | None:
    """The folder that data.dataset names, under data.root; None if it names a dataset of the hub.

    Raises:
        SettingsError: it names neither, or a setting fits only the other.
    """
    if not data.dataset:
        raise SettingsError("data.dataset=null", "no dataset is named", "name a folder, or OWNER/NAME of the hub")
    folder = (Path(data.root or ".").expanduser() / Path(data.dataset).expanduser()).absolute()
    if not folder.is_dir():
        if _HUB_ID.fullmatch(data.dataset):
            return None
        problem = f"there is no folder {folder}, and a dataset of the hub is written OWNER/NAME"
        raise SettingsError(_named(data), problem, "correct the name, or set data.root to the folder it is in")
    if data.revision is not None:
        problem = f"{folder} is a folder and has no revisions"
        raise SettingsError(f"data.revision={data.revision}", problem, "leave it out")
    if data.subset is not None and _is_saved(folder):
        problem = f"{folder} was written by save_to_disk and has no subsets"
        raise SettingsError(f"data.subset={data.subset}", problem, "leave it out")
    return folder


def _is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` wrote a dataset or several splits: it leaves one of these files beside the data."""
    return any((folder / name).is_file() for name in ("state.json", "dataset_dict.json"))


def _commit(data: DataConfig) -> str:
    """The commit that data.revision of a hub dataset means now. A commit of 40 digits is taken as it is."""
    if data.revision and _COMMIT.fullmatch(data.revision):
        return data.revision
    if not _is_offline():
        return _ask_hub(str(data.dataset), data.revision)
    if data.revision:
        remedy = "name the commit with its 40 digits"
        raise DataError(_named(data), "its commit cannot be looked up without network", remedy)
    return str(_builder(data, None).hash)


def _is_offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


@functools.cache
def _ask_hub(name: str, revision: str | None) -> str:
    """The commit of a dataset, asked from the hub; DataError within seconds if the hub cannot be reached."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    requested = f"data.dataset={name}" + (f" data.revision={revision}" if revision else "")
    hub = constants.ENDPOINT
    try:
        info = call_beside(lambda: HfApi().dataset_info(name, revision=revision, timeout=REACH_SECONDS), REACH_SECONDS)
        return str(info.sha)
    except RepositoryNotFoundError:
        problem = f"{hub} has no such dataset, or you have no access"
        remedy = "look for its page, or log in with `hf auth`"
    except RevisionNotFoundError:
        problem = f"the dataset has no revision {revision}"
        remedy = "name a branch, a tag or a commit it has"
    except Exception as e:  # of the network, of whatever library the client uses for it
        problem = f"there is no such folder, and {hub} cannot be reached ({_one_line(e)})"
        remedy = "load it with network; HF_HUB_OFFLINE=1 uses what was loaded before"
    raise DataError(requested, problem, remedy)


def _builder(data: DataConfig, commit: str | None) -> Any:
    """What loads a hub dataset. Without network `datasets` finds the newest commit it has, so the commit is compared."""
    datasets = _datasets()
    try:
        builder = datasets.load_dataset_builder(str(data.dataset), data.subset, revision=commit)
    except Exception as e:  # of the network, of its client, of the dataset's description
        remedy = "load it once with network" if _is_offline() else "see its page for subsets and revisions"
        raise DataError(_named(data), f"datasets cannot find it ({_one_line(e)})", remedy) from e
    if commit and builder.hash != commit:
        problem = f"this machine has only commit {builder.hash} of the dataset, not {commit}"
        raise DataError(_named(data), problem, "load it with network, or name that commit")
    return builder


def _datasets() -> Any:
    """The library, kept from drawing, counting and logging: what goes wrong is raised, with the name of the dataset."""
    import datasets

    # Without this every load asks the hub to count it.
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    datasets.disable_progress_bars()
    logging.getLogger("datasets").setLevel(logging.CRITICAL)
    return datasets


def _load(data: DataConfig, folder: Path | None, cache: Path) -> "Mapping[str, Dataset]":
    """The splits of the dataset, by the names it gives them."""
    datasets = _datasets()
    if folder is None:
        commit = _commit(data)
        if not _is_offline():
            _ask_hub(str(data.dataset), commit)
        builder = _builder(data, commit)
    try:
        if folder is None:
            builder.download_and_prepare()
            loaded = builder.as_dataset()
        elif _is_saved(folder):
            loaded = datasets.load_from_disk(str(folder))
        else:
            loaded = datasets.load_dataset(str(folder), data.subset, cache_dir=str(cache))
    except Exception as e:  # of readers of many formats, of the network or of the disk
        if refused := of_machine(e):
            raise storage_error(f"preparing {data.dataset}", refused) from e
        raise DataError(_named(data), f"datasets cannot load it ({_one_line(e)})", "check that it is whole") from e
    return loaded if isinstance(loaded, dict) else {str(loaded.split or "train"): loaded}


def _one_line(error: BaseException) -> str:
    """An error on one line, or its cause if `datasets` only reports that there was an error."""
    while "An error occurred while generating" in str(error) and error.__cause__:
        error = error.__cause__
    return f"{type(error).__name__}: {textwrap.shorten(str(error), 300)}".rstrip(": .")


def _parts(lengths: dict[str, int], spec: str, split: str, data: DataConfig) -> Any:
    """The splits, with first row and row after the last, that `train`, `train[:90%]` or `a+b` names."""
    try:
        return _datasets().ReadInstruction.from_spec(spec).to_absolute(lengths)
    except ValueError as e:
        requested = f"data.splits.{split}=[{spec}] data.dataset={data.dataset}"
        remedy = "name a split as datasets does: train, or train[:90%]"
        if spec == split == "test":
            remedy = "without a test split, write data.splits.test=[]"
        raise SettingsError(requested, str(e).rstrip("."), remedy) from None
