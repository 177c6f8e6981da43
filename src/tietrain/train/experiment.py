"""One experiment: what follows from a configuration, derived once and handed on. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tietrain.config import RunConfig
from tietrain.config.describe import describe_plan
from tietrain.config.identity import result_settings
from tietrain.config.layout import Layout, make_layout, make_shape
from tietrain.errors import SettingsError, TyingError
from tietrain.plan.flops import FlopLedger, count_flops
from tietrain.plan.params import ParameterLedger, count_params
from tietrain.plan.plan import TyingPlan
from tietrain.plan.schemes import make_plan
from tietrain.plan.slots import ModelShape
from tietrain.plan.tables import table_uses
from tietrain.train.place import find_place

if TYPE_CHECKING:
    from tietrain.data.tokenizer import Vocabulary
    from tietrain.model.transformer import Transformer


@dataclass(frozen=True, eq=False)
class Experiment:
    """A checked configuration and what follows from it; each value is derived when it is first read, and kept.

    vocabularies: stack -> its vocabulary. None before the data are prepared: shape, plan and ledgers then have the width
        `model.vocab_size` that the configuration states.
    place: the folder that was found for it; None before one was looked for.
    """

    config: RunConfig
    vocabularies: Mapping[str, Vocabulary] | None = None
    place: Path | None = None

    def with_vocabularies(self, vocabularies: Mapping[str, Vocabulary]) -> Experiment:
        """The experiment with the widths and contents that its vocabularies really have."""
        return replace(self, vocabularies=vocabularies, place=self.directory)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Full key -> value of the settings that decide the result."""
        return result_settings(self.config)

    @cached_property
    def directory(self) -> Path:
        """Where it is run: `run_dir`, or the folder that the study has or would get for it."""
        if self.config.run_dir:
            return Path(self.config.run_dir).expanduser()
        return self.place or find_place(self.config)

    @cached_property
    def corpus_key(self) -> str:
        """A hash of all that decides the corpus; reads the files of a text corpus."""
        from tietrain.data.sources.named import corpus_key

        return corpus_key(self.config.data, self.config.task.name)

    @cached_property
    def layout(self) -> Layout:
        """Which stack reads what."""
        return make_layout(self.config)

    @cached_property
    def vocab_sizes(self) -> dict[str, int] | None:
        """Stack -> size of its vocabulary; None before the data are prepared."""
        if self.vocabularies is None:
            return None
        return {stack: vocabulary.size for stack, vocabulary in self.vocabularies.items()}

    @cached_property
    def shape(self) -> ModelShape:
        """The model's shape."""
        contents = {stack: vocabulary.fingerprint for stack, vocabulary in (self.vocabularies or {}).items()}
        return make_shape(self.config, self.vocab_sizes, contents or None)

    @cached_property
    def plan(self) -> TyingPlan:
        """Which slot reads whose parameters.

        Raises:
            TyingError: the ties do not fit the shape.
        """
        return make_plan(self.shape, self.config.tying.ties)

    @cached_property
    def started_tables(self) -> dict[str, str]:
        """Owner of a token table -> the key of init_tables whose file it starts from.

        Raises:
            TyingError: a tied table has two files. SettingsError: the model has no table that a key is about.
        """
        files, contents = self.config.init_tables.files, self.config.init_tables.contents
        read = {store.name: table_uses(self.plan, store.name) for store in self.plan.stores if store.kind == "table"}
        found = {}
        for owner, uses in read.items():
            named = [use for use in files if use in uses]
            if len({contents[use] for use in named}) > 1:
                requested = " ".join(f"init_tables.{use}={files[use]}" for use in named)
                problem = f"{' = '.join(self.plan.uses[owner])} is one table, and these are two files"
                raise TyingError(requested, problem, "name one of them, or choose ties that keep the tables apart")
            if named:
                found[owner] = named[0]
        for use, file in files.items():
            if not any(use in uses for uses in read.values()):
                has = ", ".join(sorted(set().union(*read.values())))
                problem = f"the model has no such table: its tables are read as {has}"
                raise SettingsError(f"init_tables.{use}={file}", problem, "leave it out")
        return found

    @cached_property
    def params(self) -> ParameterLedger:
        """The ledger of stored parameters."""
        return count_params(self.plan)

    @cached_property
    def flops(self) -> FlopLedger:
        """The ledger of FLOPs."""
        return count_flops(self.plan)

    def describe(self) -> list[str]:
        """Ties, parameters, FLOPs and memory, as lines of text."""
        return describe_plan(self.plan, self.config)

    def arm(self, fingerprints: Mapping[str, Any]) -> str:
        """A hash of all that decides the result but the seed: plan, shapes, settings, content of corpus and vocabularies."""
        settings = {k: v for k, v in self.settings.items() if k != "seed" and not k.startswith("tying.")}
        contents = {k: v for k, v in fingerprints.items() if k != "batches"}
        body = json.dumps([self.plan.hash, settings, contents], sort_keys=True)
        return hashlib.sha256(body.encode()).hexdigest()[:12]

    def build_model(self) -> Transformer:
        """The model with its initial values."""
        model = self.unfilled_model()
        model.initialize(self.config.seed)
        return model

    def unfilled_model(self) -> Transformer:
        """The model before it has values; parameters that are never written take no memory of the host."""
        from tietrain.model.transformer import Transformer

        return Transformer(self.plan, dropout=self.config.model.dropout, tables=self.config.model.table_values)
