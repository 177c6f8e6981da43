"""Names that other toolkits use for tietrain's schemes, and the generated files `conf/tying/alias/`.

An alias is the scheme itself under another file name: with the same label and options, it is the same run.
Sources: the toolkits' documented options; for Mixture-of-Recursions, Subformer and MobileLLM, their released code or
papers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Alias:
    """An option of a toolkit, the scheme that tietrain has for it, and the options that make them equal."""

    toolkit: str
    option: str
    scheme: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """Name of the file in `conf/tying/alias/`: `fairseq_share_all_embeddings`."""
        return f"{self.toolkit.lower().replace('-', '_')}_{_plain(self.option)}"


ALIASES = (
    Alias("Sockeye", "trg_softmax", "pre_softmax"),
    Alias("Sockeye", "src_trg", "embeddings"),
    Alias("Sockeye", "src_trg_softmax", "three_way"),
    Alias("Marian", "tied-embeddings", "pre_softmax"),
    Alias("Marian", "tied-embeddings-src", "embeddings"),
    Alias("Marian", "tied-embeddings-all", "three_way"),
    Alias("Marian", "transformer-tied-layers", "index_vector", {"stacks": ["decoder"]}),
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


def our_name(foreign: str) -> str | None:
    """tietrain's scheme for another toolkit's name, with `-` or `_`; None if no toolkit has the name.

    >>> our_name("share-all-embeddings"), our_name("share_all_embeddings"), our_name("three_way")
    ('three_way', 'three_way', None)
    """
    found = [alias for alias in ALIASES if _plain(foreign) in (_plain(alias.option), alias.file)]
    if not found or any(alias.scheme == foreign for alias in found):
        return None
    return found[0].scheme


def _plain(option: str) -> str:
    return option.lower().replace("-", "_")
