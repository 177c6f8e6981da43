"""The audit of a folder in Hugging Face format: what `tietrain audit DIR` finds. Loads no torch."""

from functools import cache
from pathlib import Path

from tietrain.plan.known_models import find_tables, read_promises
from tietrain.plan.sharing import CHUNK, Audit, Values, equal_values, fingerprint
from tietrain.runs.hf_folder import CONFIG, read_hf_folder

# Parts of the names of classes that have an output table, in `architectures` of config.json.
PREDICTORS = ("LMHead", "ForCausalLM", "ForMaskedLM", "ForConditionalGeneration", "MTModel")


def audit_folder(directory: Path) -> Audit:
    """What the tensors of a folder share. Those that have a partner of equal type and shape are read, once and in pieces.

    Raises:
        DataError, StorageError: of `read_hf_folder`.
    """
    folder = read_hf_folder(directory)
    kinds = {name: (tensor.dtype, tensor.shape) for name, tensor in folder.tensors.items()}
    classes = folder.config.get("architectures")
    name = classes[0] if isinstance(classes, list) and classes else ""
    predicts = isinstance(name, str) and any(part in name for part in PREDICTORS)
    broken, unchecked = list(folder.broken), []

    @cache
    def values(name: str) -> Values:
        return fingerprint(folder.tensors[name].chunks(CHUNK), folder.tensors[name].size)

    for promise in read_promises(folder.config, find_tables(kinds)):
        said = f"{CONFIG}: {promise}"
        first, second = promise.first, promise.second
        if first and second:
            # A tie that is stored under both names is remade by the reader, if the values agree.
            if promise.one and (kinds[first] != kinds[second] or values(first) != values(second)):
                broken.append(f"{said}, and {first} and {second} have different values")
        elif first or second:
            if predicts and not promise.one:
                broken.append(
                    f"{said}, and only {first or second} is stored: a reader gives the other one random values"
                )
        elif promise.one:
            unchecked.append(said)
    n_numbers = sum(tensor.n_numbers for tensor in folder.tensors.values())
    return Audit(
        tied=(),
        equal=equal_values(kinds, values),
        overlapping=(),
        broken=tuple(broken),
        unchecked=tuple(unchecked),
        unread=(),
        params=n_numbers,
        params_by_name=n_numbers,
    )
