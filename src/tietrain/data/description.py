"""What `tietrain data` shows of a corpus and its vocabularies."""

import itertools
from collections import Counter
from typing import Any

from tietrain.config.layout import Layout
from tietrain.data.prepared import Prepared


def describe(prepared: Prepared) -> dict[str, Any]:
    """What `tietrain data` shows: counts per split and column, vocabularies, pieces, overlap with train, notes.

    `shared_pieces` counts the pieces, by their text, that occur in two or more columns of `train`; None for one column.
    """
    about = prepared.corpus.about
    splits: dict[str, Any] = {}
    for split, counts in about["splits"].items():
        splits[split] = {c: {**counts[c], **about["pieces"][split].get(c, {})} for c in counts}
        for column in splits[split].values():
            known = column.get("words") and "pieces" in column
            column["pieces_per_word"] = column["pieces"] / column["words"] if known else None
    layout = prepared.layout
    used = prepared.used_pieces()
    vocabularies = {
        stack: {
            "kind": v.kind,
            "size": v.size,
            "used_in_train": len(set().union(*(used[layout.vocabularies[stack]][c] for c in _read_by(stack, layout)))),
            "lossless": v.lossless,
            "fingerprint": v.fingerprint,
        }
        for stack, v in prepared.vocabularies.items()
    }
    pieces = {layout.vocabularies[stack]: v.pieces for stack, v in prepared.vocabularies.items()}
    texts: dict[str, set[str]] = {}
    for name, columns in used.items():
        for column, ids in columns.items():
            texts.setdefault(column, set()).update(pieces[name][i] for i in ids)
    in_columns = Counter(itertools.chain.from_iterable(texts.values()))
    known_nats = {name: split.generator_nats for name, split in prepared.corpus.splits.items()}
    return {
        "name": prepared.corpus.name,
        "columns": {stack: "+".join(_read_by(stack, layout)) for stack in layout.stacks},
        "splits": splits,
        "vocabularies": vocabularies,
        "shared_pieces": sum(n > 1 for n in in_columns.values()) if len(texts) > 1 else None,
        "overlap": about["overlap"],
        "generator_nats": {name: sum(nats) for name, nats in known_nats.items() if nats is not None},
        "notes": prepared.notes,
        "fingerprints": prepared.fingerprints,
    }


def _read_by(stack: str, layout: Layout) -> list[str]:
    """The columns a stack reads or writes."""
    pairs = [*layout.encoders.items(), *layout.decoders.items()]
    return list(dict.fromkeys(column for column, name in pairs if name == stack))


def description_lines(description: dict[str, Any]) -> list[str]:
    """`describe` for people: a table of splits, then vocabularies, overlap and notes; bounds if they were added."""
    rows = [("split", "column", "lines", "words", "bytes", "pieces", "pieces/word", "unk")]
    for split, columns in description["splits"].items():
        for column, n in columns.items():
            counts = [f"{n[key]:,}" if key in n else "" for key in ("lines", "words", "bytes", "pieces")]
            per_word = f"{n['pieces_per_word']:.2f}" if n["pieces_per_word"] else ""
            rows.append((split, column, *counts, per_word, f"{n['unk']:,}" if "unk" in n else ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [description["name"]]
    for row in rows:
        cells = [c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    for stack, v in description["vocabularies"].items():
        text = f"{v['kind']}, {v['size']:,} pieces, {v['used_in_train']:,} used in train"
        lines.append(f"vocabulary of the {stack}: {text}{'' if v['lossless'] else ', not lossless'}")
    if description["shared_pieces"] is not None:
        where = "two or more columns" if len(description["splits"]["train"]) > 2 else "both languages"
        lines.append(f"pieces used in {where} of train: {description['shared_pieces']:,}")
    # If there is overlap, a note says how much.
    overlap = description["overlap"].items()
    lines += [f"{split}: no line is also in train" for split, counts in overlap if not any(counts.values())]
    signatures: dict[str, None] = {}
    for name, columns in description.get("copies", {}).items():
        for column, copied in columns.items():
            lines.append(f"{name}, {column} copied: " + ", ".join(f"{k} {v:.2f}" for k, v in copied["scores"].items()))
            signatures |= dict.fromkeys(copied["signatures"].values())
    lines += signatures
    for split, scores in description.get("ceilings", {}).items():
        lines.append(f"{split} at best: " + ", ".join(f"{name} {value:.2f}" for name, value in scores.items()))
    return [*lines, *description["notes"]]
