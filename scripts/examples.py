"""Make docs/examples again: from the run records kept there (a minute or two), or from its experiment files (hours).

    python scripts/examples.py                 reports from the kept records, in outputs/examples/STUDY/report/
    python scripts/examples.py --train         train every study into outputs/STUDY, keep its records, then the same
    python scripts/examples.py --pack FOLDER   keep the records of the finished runs in FOLDER/STUDY, then the same

Each also writes what docs/examples shows: report.md, a few figures and the tables of README.md. `--only STUDY` does one.

Records are what `tietrain report` reads of each run, in docs/examples/STUDY/records-N.tar.xz; equal runs give equal bytes.
Nothing is left out of them but what no report reads: checkpoints, vocabularies, texts, TensorBoard files and logs.
"""

from __future__ import annotations

import argparse
import io
import lzma
import re
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from refresh_docs import refreshed
from tietrain.report.write import write_report
from tietrain.runs import record as runs
from tietrain.runs.view import FILES

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs" / "examples"
OUTPUTS = ROOT / "outputs"
README = EXAMPLES / "README.md"

MAX_ARCHIVE_BYTES = 290_000
MAX_UNPACKED_BYTES = 64 * 1024 * 1024
MAX_FIGURE_BYTES = 150_000
# One folder, whose name no path can leave by, and one file that a report reads.
MEMBER = re.compile(r"[A-Za-z0-9][\w.,=+-]*/(" + "|".join(map(re.escape, FILES)) + ")")
LINK = re.compile(r"!?\[[^\]]*\]\(([\w.-]+)\)")


@dataclass(frozen=True)
class Study:
    """One example: what it compares, the experiment files that make it, and the figures that docs/examples shows."""

    about: str
    experiments: tuple[str, ...]
    figures: Mapping[str, str]


STUDIES = {
    "tuned": Study(
        "three ways to tie a language model, each tuned by the same list of points, compared on six fresh seeds",
        ("tuned_lm",),
        {
            "lm_differences": "Difference of each arm to the untied one",
            "lm_tuning": "The points that were tried for each arm",
            "lm_quality_parameters": "Bits per byte against stored parameters",
        },
    ),
}


def pack_runs(found: Sequence[Path]) -> list[bytes]:
    """Archives of run directories, each at most MAX_ARCHIVE_BYTES; equal files give equal bytes."""
    archive = lzma.compress(_tar(found), preset=9)
    if len(archive) <= MAX_ARCHIVE_BYTES:
        return [archive]
    if len(found) == 1:
        raise SystemExit(f"{found[0]}: its records are {len(archive):,} bytes, more than {MAX_ARCHIVE_BYTES:,}")
    middle = len(found) // 2
    return pack_runs(found[:middle]) + pack_runs(found[middle:])


def _tar(found: Sequence[Path]) -> bytes:
    """What a report reads of each run, as a tar file without owners and times."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for directory in sorted(found):
            for path in (directory / name for name in FILES if (directory / name).exists()):
                body = runs.read_bytes(path)
                member = tarfile.TarInfo(f"{directory.name}/{path.name}")
                member.size = len(body)
                tar.addfile(member, io.BytesIO(body))
    return content.getvalue()


def unpack_runs(archive: bytes, folder: Path) -> None:
    """Write the records of an archive into a folder.

    Raises:
        ValueError: it holds anything but new regular files that a report reads, one folder deep, or unpacks to more
            than MAX_UNPACKED_BYTES. What came before the fault has been written.
    """
    content = lzma.LZMADecompressor().decompress(archive, MAX_UNPACKED_BYTES + 1)
    if len(content) > MAX_UNPACKED_BYTES:
        raise ValueError(f"more than {MAX_UNPACKED_BYTES:,} bytes")
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
        for member in tar:
            body = tar.extractfile(member) if member.type == tarfile.REGTYPE else None
            path = folder / member.name
            if body is None or not MEMBER.fullmatch(member.name) or path.exists():
                raise ValueError(f"{member.name}: it is not a record of a run, or is there twice")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body.read())


def keep_records(study: Path, kept: Path) -> None:
    """Replace the archives in a folder by those of a study whose runs have all ended."""
    found = runs.find_runs(study)
    at_work = [path.name for path in found if runs.read_record(path).status in ("running", "interrupted")]
    if not found or at_work:
        raise SystemExit(f"{study}: {len(found)} runs, not ended: {', '.join(at_work) or 'none'}")
    archives = pack_runs(found)
    kept.mkdir(parents=True, exist_ok=True)
    for path in archives_of(kept):
        path.unlink()
    for number, archive in enumerate(archives, 1):
        (kept / f"records-{number}.tar.xz").write_bytes(archive)


def archives_of(kept: Path) -> list[Path]:
    """The archives of a study, in order."""
    return sorted(kept.glob("records-*.tar.xz"))


def make_report(kept: Path, folder: Path) -> Path:
    """Unpack the archives of a study into a folder, which is emptied first, and write its report.

    Returns:
        The folder of the report.
    """
    if folder.exists():
        shutil.rmtree(folder)
    for path in archives_of(kept):
        unpack_runs(path.read_bytes(), folder)
    return write_report(folder).markdown.parent


def shown_page(text: str, kept: Sequence[str]) -> str:
    """The page of a report with links to kept files alone; other files are named."""
    page = LINK.sub(lambda link: link[0] if link[1] in kept else f"`{link[1]}`", text)
    return f"*Files without a link are not kept here: `make examples` writes them.*\n\n{page}"


def small_png(content: bytes) -> bytes:
    """A figure in as many colours as fit into MAX_FIGURE_BYTES, at most 256."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    for n_colours in (256, 64, 16):
        small = io.BytesIO()
        # Of Pillow's methods the one that changed the colours of these figures least.
        few = image.quantize(n_colours, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(small, "PNG", optimize=True)
        if len(small.getvalue()) <= MAX_FIGURE_BYTES:
            return small.getvalue()
    raise SystemExit(f"a figure of {image.width} x {image.height} is too large in 16 colours")


def section(name: str, study: Study, report: Path) -> str:
    """What README.md says of a study: commands, numbers of runs, verdicts and figures."""
    found = Counter(run["status"].replace("_", " ") for run in runs.read_json(report / "runs.json"))
    counts = ", ".join(f"{n} {status}" for status, n in sorted(found.items()))
    lines = [f"## `{name}`: {study.about}", "", "```"]
    lines += [f"tietrain experiment={experiment}" for experiment in study.experiments]
    lines += [f"tietrain report outputs/{name}", "```", ""]
    lines += [f"{found.total()} runs: {counts}. [Report]({name}/report.md).", ""]
    lines += ["| task | arm | stored parameters | mean (seeds) | difference [95 %] | p Holm | verdict |"]
    lines += ["|---|---|--:|--:|--:|--:|---|"]
    lines += [_row(arm) for arm in runs.read_json(report / "arms.json") if arm["verdict"] and arm["seeds"]]
    for figure, title in study.figures.items():
        lines += ["", f"![{title}]({name}/{figure}.png)"]
    return "\n".join(lines) + "\n"


def _row(arm: Mapping[str, Any]) -> str:
    verdict = arm["verdict"]
    score = arm["scores"][verdict["split"]][verdict["metric"]]
    mean = f"{score['mean']:.3g} {verdict['metric']} ({score['n']})"
    difference = p_holm = ""
    if verdict["low"] is not None:
        difference = f"{verdict['difference']:+.2g} [{verdict['low']:+.2g}, {verdict['high']:+.2g}]"
        p_holm = f"{verdict['p_holm']:.2g}"
    cells = (arm["task"], f"`{arm['name']}`", f"{arm['params']:,}", mean, difference, p_holm, verdict["verdict"])
    return f"| {' | '.join(cells)} |"


def show(name: str) -> None:
    """Make the report of a study and copy what docs/examples shows of it."""
    study = STUDIES[name]
    kept = EXAMPLES / name
    report = make_report(kept, OUTPUTS / "examples" / name)
    figures = [f"{figure}.png" for figure in study.figures]
    for figure in figures:
        runs.write_bytes(kept / figure, small_png((report / figure).read_bytes()))
    runs.write_text(kept / "report.md", shown_page((report / "report.md").read_text(encoding="utf-8"), figures))
    text = README.read_text(encoding="utf-8")
    runs.write_text(README, refreshed(text, {name: lambda: section(name, study, report)}))
    print(f"{name}: {report / 'report.html'}", flush=True)


def main() -> None:
    """Run what is asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--train", action="store_true", help="train the studies first (hours), then pack their records")
    source.add_argument(
        "--pack", type=Path, metavar="FOLDER", help="pack the records of the finished runs in FOLDER/STUDY"
    )
    parser.add_argument("--only", choices=STUDIES, help="one study")
    args = parser.parse_args()
    for name in [args.only] if args.only else STUDIES:
        if args.train:
            for experiment in STUDIES[name].experiments:
                command = [sys.executable, "-m", "tietrain", f"experiment={experiment}"]
                subprocess.run(command, cwd=ROOT, check=True)
        folder = OUTPUTS if args.train else args.pack
        if folder:
            keep_records(folder / name, EXAMPLES / name)
        if archives_of(EXAMPLES / name):
            show(name)
        else:
            print(f"{name}: no records are kept; --train makes them", file=sys.stderr)


if __name__ == "__main__":
    main()
