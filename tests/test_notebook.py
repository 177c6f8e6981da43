"""The notebook runs from its first cell to its last, and prints what it shows."""

from pathlib import Path

import pytest

BOOK = Path(__file__).parents[1] / "docs" / "python.ipynb"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_notebook_runs_and_prints_what_it_shows(tmp_path):
    nbclient = pytest.importorskip("nbclient", reason="nbclient runs notebooks")
    pytest.importorskip("ipykernel", reason="ipykernel runs their code")
    import nbformat

    shown = nbformat.read(BOOK, as_version=4)
    ran = nbformat.read(BOOK, as_version=4)
    nbclient.NotebookClient(
        ran, kernel_name="python3", timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    for before, after in zip(shown.cells, ran.cells, strict=True):
        if before.cell_type == "code":
            assert printed(after) == printed(before), before.source


def printed(cell):
    """The words that a cell prints, of an error the last line, without the name of its module."""
    texts = []
    for output in cell.outputs:
        if output.output_type == "error":
            texts.append(f"{output.ename}: {output.evalue}")
        elif output.output_type == "execute_result":
            texts.append(output.data["text/plain"])
        elif output.name == "stdout":
            texts.append(output.text.rpartition("tietrain.errors.")[2])
    return "".join(texts).split()
