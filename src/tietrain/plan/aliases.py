"""What other toolkits call a scheme of ours, and the files `conf/tying/alias/` made of it.

An alias is the scheme itself under another file name: label, options and so the run's identity are ours.
Sources: the toolkits' documented options; the sharing names of Mixture-of-Recursions and the strategies of Subformer
and MobileLLM are those of their released code or papers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml


@dataclass(frozen=True)
class Alias:
    """An option of a toolkit, the scheme it is here, and options that make it the same."""

    toolkit: str
    option: str
    scheme: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """Name of the file under `conf/tying/alias/`: `fairseq_share_all_embeddings`."""
        return f"{self.toolkit.lower().replace('-', '_')}_{_plain(self.option)}"


_DECODER = {"stacks": ["decoder"]}
ALIASES = (
    Alias("Sockeye", "trg_softmax", "pre_softmax"),
    Alias("Sockeye", "src_trg", "embeddings"),
    Alias("Sockeye", "src_trg_softmax", "three_way"),
    Alias("Marian", "tied-embeddings", "pre_softmax"),
    Alias("Marian", "tied-embeddings-src", "embeddings"),
    Alias("Marian", "tied-embeddings-all", "three_way"),
    Alias("Marian", "transformer-tied-layers", "index_vector", _DECODER),
    Alias("Nematus", "tie_decoder_embeddings", "pre_softmax"),
    Alias("Nematus", "tie_encoder_decoder_embeddings", "embeddings"),
    Alias("fairseq", "share-decoder-input-output-embed", "pre_softmax"),
    Alias("fairseq", "share-all-embeddings", "three_way"),
    Alias("HF", "tie_word_embeddings", "pre_softmax"),
    Alias("MobileLLM", "immediate_block_wise", "immediate"),
    Alias("MobileLLM", "reverse", "mirror"),
    Alias("Subformer", "sandwich", "sandwich"),
    Alias("MoR", "middle_cycle", "middle_cycle"),
    Alias("MoR", "middle_sequence", "middle_sequence"),
    Alias("Press-Wolf", "wt", "pre_softmax"),
    Alias("Press-Wolf", "twwt", "three_way"),
)


def alias_yaml(alias: Alias, ties_of: Callable[[str], Mapping[str, Mapping[str, Any]]]) -> str:
    """The text of an alias's file; `ties_of` gives the ties of a scheme's own file."""
    ties = {label: {**tie, **alias.options} for label, tie in ties_of(alias.scheme).items()}
    # Without the package line a file of a sub-group would not merge in a list, tying=[a,alias/b].
    header = "# @package tying\n"
    header += f"# {alias.toolkit} `{alias.option}`, here tying={alias.scheme}. Generated: change tying/aliases.py.\n"
    return header + yaml.safe_dump({"ties": ties}, default_flow_style=None, sort_keys=False, width=120)


def our_name(foreign: str) -> str | None:
    """What to write for a bare foreign name, however its words are joined; None where no toolkit has it.

    >>> our_name("share-all-embeddings"), our_name("share_all_embeddings"), our_name("three_way")
    ('three_way', 'three_way', None)
    """
    found = [alias for alias in ALIASES if _plain(foreign) in (_plain(alias.option), alias.file)]
    if not found or any(alias.scheme == foreign for alias in found):
        return None
    return found[0].scheme


def _plain(option: str) -> str:
    return option.lower().replace("-", "_")
