"""scripts/examples.py: it keeps run records whole, unpacks them with care, and the kept ones make docs/examples."""

import io
import lzma
import tarfile
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure
from PIL import Image

from fabricated import make_config, write_run
from tietrain.runs.view import collect

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs" / "examples"
RECORDED = sorted({path.parent.name for path in EXAMPLES.glob("*/records-*.tar.xz")})


@pytest.fixture(scope="module")
def examples():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")
        yield import_module("examples")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Three finished runs, one of them with a file that no report reads, and one that does not apply."""
    folder = tmp_path_factory.mktemp("study")
    for seed in (1, 2):
        write_run(folder, make_config("lm", "none", seed))
    (write_run(folder, make_config("lm", "pre_softmax", 1)) / "train.log").write_text("not a record")
    write_run(folder, make_config("lm", "cross_layer", 1), status="not_applicable")
    return folder


@pytest.fixture
def no_drawing(monkeypatch):
    """Figures are laid out but not drawn, which takes nine tenths of the time of a report and changes no page."""

    def save(figure, buffer, *, format, **options):
        if format == "png":
            Image.new("RGB", (4, 4)).save(buffer, "PNG")
        else:
            buffer.write(b'<svg xmlns="http://www.w3.org/2000/svg" width="4pt" height="4pt" viewBox="0 0 4 4"/>')

    monkeypatch.setattr(Figure, "savefig", save)


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_records_are_kept_whole_and_equal_runs_give_equal_bytes(examples, study, tmp_path):
    examples.keep_records(study, tmp_path / "kept")
    before = files_of(tmp_path / "kept")
    examples.keep_records(study, tmp_path / "kept")
    assert files_of(tmp_path / "kept") == before and list(before) == ["records-1.tar.xz"]
    for archive in before.values():
        examples.unpack_runs(archive, tmp_path / "again")
    assert collect(tmp_path / "again") == collect(study)
    assert files_of(tmp_path / "again") == {k: v for k, v in files_of(study).items() if not k.endswith("train.log")}


def test_keep_records_splits_what_is_too_large(examples, study, tmp_path, monkeypatch):
    whole = len(examples.pack_runs(sorted(study.iterdir()))[0])
    monkeypatch.setattr(examples, "MAX_ARCHIVE_BYTES", whole - 1)
    examples.keep_records(study, tmp_path / "kept")
    archives = examples.archives_of(tmp_path / "kept")
    assert len(archives) > 1 and all(path.stat().st_size < whole for path in archives)
    for path in archives:
        examples.unpack_runs(path.read_bytes(), tmp_path / "again")
    assert collect(tmp_path / "again") == collect(study)
    monkeypatch.setattr(examples, "MAX_ARCHIVE_BYTES", 100)
    with pytest.raises(SystemExit):
        examples.keep_records(study, tmp_path / "kept")
    assert examples.archives_of(tmp_path / "kept") == archives


@pytest.mark.parametrize("status", ["running", "interrupted"])
def test_keep_records_refuses_runs_that_have_not_ended(examples, tmp_path, status):
    write_run(tmp_path / "study", make_config("lm", "none", 1), status=status)
    with pytest.raises(SystemExit):
        examples.keep_records(tmp_path / "study", tmp_path / "kept")
    with pytest.raises(SystemExit):
        examples.keep_records(tmp_path / "nothing", tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def archive(*members):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return lzma.compress(content.getvalue())


def member(name, kind=tarfile.REGTYPE, size=0, target=""):
    made = tarfile.TarInfo(name)
    made.type, made.size, made.linkname = kind, size, target
    return made


@pytest.mark.parametrize(
    "members",
    [
        [member("run/train.log", size=1)],
        [member("run.json", size=1)],
        [member("a/b/run.json", size=1)],
        [member("../run.json", size=1)],
        [member("/run/run.json", size=1)],
        [member("run/run.json", tarfile.SYMTYPE, target="/etc/passwd")],
        [member("run/run.json", tarfile.LNKTYPE, target="other/run.json")],
        [member("run/run.json", tarfile.FIFOTYPE)],
        [member("run", tarfile.DIRTYPE)],
        [member("run/run.json", size=1), member("run/run.json", size=1)],
        [member("run/run.json", size=65 * 1024 * 1024)],
    ],
    ids=lambda members: f"{members[0].name}-{members[0].type.decode()}-{members[0].size}",
)
def test_unpack_runs_refuses_what_is_not_a_record(examples, tmp_path, members):
    with pytest.raises(ValueError):
        examples.unpack_runs(archive(*members), tmp_path / "folder")
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert left == ([tmp_path / "folder" / "run" / "run.json"] if len(members) == 2 else [])


def test_small_png_fits(examples):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 500, 3), dtype=np.uint8))
    content = io.BytesIO()
    noise.save(content, "PNG")
    small = examples.small_png(content.getvalue())
    assert len(small) <= examples.MAX_FIGURE_BYTES < len(content.getvalue())
    assert Image.open(io.BytesIO(small)).size == noise.size


def test_shown_page_links_kept_files_alone(examples):
    page = examples.shown_page("![a b](a.png) and [x.csv](x.csv), [\\[q\\]](https://x.org/y)", ["a.png"])
    assert page.endswith("![a b](a.png) and `x.csv`, [\\[q\\]](https://x.org/y)")


def test_main_packs_runs_and_shows_them(examples, study, tmp_path, monkeypatch, no_drawing, capsys):
    for name in ("EXAMPLES", "OUTPUTS"):
        monkeypatch.setattr(examples, name, tmp_path / name)
    monkeypatch.setattr(examples, "README", tmp_path / "README.md")
    tuned = examples.STUDIES["tuned"]
    monkeypatch.setattr(examples, "STUDIES", {"tuned": replace(tuned, figures={"lm_differences": "Differences"})})
    monkeypatch.setattr("sys.argv", ["examples.py", "--pack", str(tmp_path)])
    (tmp_path / "tuned").symlink_to(study)
    (tmp_path / "README.md").write_text("# Studies\n\n<!-- tuned -->\n<!-- /tuned -->\n\nThe end.\n")
    examples.main()
    kept = {path.name for path in (tmp_path / "EXAMPLES" / "tuned").iterdir()}
    assert kept == {"records-1.tar.xz", "report.md", "lm_differences.png"}
    text = (tmp_path / "README.md").read_text()
    assert "4 runs: 3 done, 1 not applicable. [Report](tuned/report.md)." in text
    assert "| lm | `pre_softmax` |" in text and "](tuned/lm_differences.png)" in text and text.endswith("The end.\n")
    # Without --pack, from the records that are kept.
    monkeypatch.setattr("sys.argv", ["examples.py"])
    examples.main()
    assert (tmp_path / "README.md").read_text() == text


def test_studies_are_those_of_their_experiment_files(examples):
    for name, study in examples.STUDIES.items():
        for experiment in study.experiments:
            body = yaml.safe_load((ROOT / "conf" / "experiment" / f"{experiment}.yaml").read_text(encoding="utf-8"))
            assert body["study"] == name


def test_examples_hold_what_is_shown_and_records_alone(examples):
    assert set(RECORDED) == set(examples.STUDIES), (
        "run scripts/examples.py --pack FOLDER where the studies were trained"
    )
    for name in RECORDED:
        shown = {"report.md", *(f"{figure}.png" for figure in examples.STUDIES[name].figures)}
        records = {path.name for path in examples.archives_of(EXAMPLES / name)}
        assert {path.name for path in (EXAMPLES / name).iterdir()} == shown | records
    assert {path.name for path in EXAMPLES.iterdir()} == {"README.md", *RECORDED}


@pytest.mark.parametrize("name", RECORDED)
def test_records_make_the_kept_report_again(examples, name, tmp_path, no_drawing):
    study = examples.STUDIES[name]
    report = examples.make_report(EXAMPLES / name, tmp_path / name)
    page = examples.shown_page((report / "report.md").read_text(), [f"{figure}.png" for figure in study.figures])
    assert page == (EXAMPLES / name / "report.md").read_text(encoding="utf-8"), "run make examples"
    text = examples.README.read_text(encoding="utf-8")
    sections = {name: lambda: examples.section(name, study, report)}
    assert examples.refreshed(text, sections) == text, "run make examples"
