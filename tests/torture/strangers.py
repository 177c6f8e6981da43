"""The promise about folders of others: no command changes a byte in them, whatever names their files bear."""

import random
import shutil

from cells import Place, run
from damages import is_clear
from promises import Table

from foreign import COMMANDS, make_foreign, tree


def write_into_foreign_folders(place: Place, n: int, draw: random.Random, table: Table) -> None:
    """Promise 15: each command in turn, pointed at a folder with some of our names in it, is refused and changes nothing."""
    row = table.row("15 writes into foreign folders: 0 bytes changed")
    for i in range(n):
        name = list(COMMANDS)[i % len(COMMANDS)]
        words, codes = COMMANDS[name]
        own = place.fresh("foreign")
        folder = own / "outputs" / "report"
        make_foreign(folder, draw, share=draw.random())
        (own / "t").write_text("a b c\n")
        before = tree(folder)
        ended = run(words(folder), own)
        ok = is_clear(ended, codes) and tree(folder) == before
        row.check(ok, f"{name}: exit {ended.code}: {ended.err[-300:]}")
        shutil.rmtree(own)
