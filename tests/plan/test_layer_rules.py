"""Layer maps against lists typed from the papers; refusals are in test_refusals.py."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tietrain.plan.layer_rules import (
    ORDERS,
    all_but_last,
    cross_layer,
    execution,
    immediate,
    index_vector,
    middle_cycle,
    middle_sequence,
    mirror,
    prelude_loop_coda,
    random_map,
    sandwich,
)
from tietrain.plan.schemes import make_plan
from tiny_models import make_shape

DIVISORS = [(1, 1), (2, 2), (3, 1), (6, 3), (12, 6), (18, 6), (20, 5)]


def same_sets(read, wanted) -> bool:
    """Whether two maps share between the same layers, whatever their sets are called."""
    return [list(read).index(s) for s in read] == [list(wanted).index(s) for s in wanted]


def split(text: str) -> list[str]:
    return list(text.replace(" ", ""))


TAKASE = [
    ("sequence", 6, 3, "0 0 1 1 2 2"),
    ("cycle", 6, 3, "0 1 2 0 1 2"),
    ("cycle_rev", 6, 3, "0 1 2 2 1 0"),
    ("sequence", 18, 6, "000 111 222 333 444 555"),
    ("cycle", 18, 6, "012345 012345 012345"),
    ("cycle_rev", 18, 6, "012345 012345 543210"),
    ("sequence", 12, 6, "00 11 22 33 44 55"),
    ("cycle", 12, 6, "012345 012345"),
    ("cycle_rev", 12, 6, "012345 543210"),
    *((order, 6, 1, "000000") for order in ("sequence", "cycle", "cycle_rev")),
    ("sequence", 6, 6, "012345"),
    ("cycle", 6, 6, "012345"),
    ("cycle_rev", 6, 6, "543210"),  # six sets, one a layer
    # The formulas hold if M does not divide N.
    ("sequence", 7, 3, "000 11 22"),
    ("cycle", 7, 3, "012 012 0"),
    ("cycle_rev", 7, 3, "0120 210"),
    ("cycle_rev", 9, 5, "0123 43210"),
    ("cycle_rev", 4, 3, "0 210"),
]


def test_cross_layer_has_the_maps_of_takase_and_kiyono():
    """Source: Takase & Kiyono 2021, section 2 and figure 2."""
    for order, n, m, sets in TAKASE:
        assert cross_layer(n, order, m) == list(map(int, split(sets))), (order, n, m)


def test_cross_layer_has_the_groups_of_albert():
    """Source: Lan et al. 2019, released code: layer i is of group floor(i G / N), here of 12 layers."""
    lists = {
        1: "000000000000",
        2: "000000111111",
        3: "000011112222",
        4: "000111222333",
        6: "001122334455",
        12: "0123456789ab",
    }
    for groups, sets in lists.items():
        assert same_sets(cross_layer(12, "sequence", groups), sets), groups


def test_layer_maps_are_the_published_ones():
    maps = [
        # MobileLLM (Liu et al. 2024, section 2.3): three ways to run each block of half the depth twice.
        (immediate(8), "00 11 22 33"),
        (mirror(8), "0123 3210"),
        (cross_layer(8, "cycle", 4), "0123 0123"),
        (immediate(7), "00 11 22 3"),
        (mirror(7), "012 3 210"),
        (immediate(1), "0"),
        (mirror(1), "0"),
        (mirror(2), "00"),
        # Subformer (Reid et al. 2021): sandwich, and `share all but last` of its code.
        (sandwich(6), "0 1111 2"),
        (sandwich(3), "012"),
        (sandwich(2), "01"),
        (sandwich(1), "0"),
        (all_but_last(6), "00000 1"),
        (all_but_last(2), "01"),
        (all_but_last(1), "0"),
        # Mixture-of-Recursions (Bae et al. 2025): K = (N - 2) / R sets between the first and the last layer.
        (middle_cycle(8, 2), "0 123 123 4"),
        (middle_cycle(8, 3), "0 12 12 12 3"),
        (middle_cycle(8, 6), "0 111111 2"),
        (middle_cycle(8, 1), "01234567"),
        (middle_sequence(8, 2), "0 11 22 33 4"),
        (middle_sequence(8, 3), "0 111 222 3"),
        (middle_sequence(8, 6), "0 111111 2"),
        (middle_sequence(8, 1), "01234567"),
        (middle_sequence(7, 2), "0 11 22 3 4"),
        (middle_sequence(2, 2), "01"),
        (cross_layer(9, "cycle", 3), "012 012 012"),
        (cross_layer(9, "sequence", 3), "000 111 222"),
        # Schwethelm et al. 2026: (2, 16 / r, 2) at 20 executed layers.
        (prelude_loop_coda(20, 2, 2, 1), "ab cdefghijklmnopqr st"),
        (prelude_loop_coda(20, 2, 2, 2), "ab cdefghij cdefghij st"),
        (prelude_loop_coda(20, 2, 2, 4), "ab cdef cdef cdef cdef st"),
        (prelude_loop_coda(20, 2, 2, 8), "ab cd cd cd cd cd cd cd cd st"),
        (prelude_loop_coda(6, 0, 0, 3), "01 01 01"),
        (prelude_loop_coda(6, 2, 0, 2), "01 23 23"),
        # OpenAI parameter-golf 2026: 17 layers run of 11 stored.
        (execution(17, ["0-5", "3-5", "3-10"]), "012345 345 3456789a"),
        (execution(9, ["0-2", "0-2", "0-2"]), "012 012 012"),
        (execution(4, [0, 1, "1-1", 2]), "0 1 1 2"),
        # Marian's vector: numbers from 1 are names of sets.
        (index_vector(6, [1, 1, 2, 2, 3, 3]), "001122"),
        (index_vector(6, [1, 1, 1, 1, 1, 1]), "000000"),
        (index_vector(6, [1, 2, 1, 2, 5, 5]), "01 01 22"),
        (index_vector(3, [3, 2, 3]), "0 1 0"),
    ]
    assert [(read, sets) for read, sets in maps if not same_sets(read, split(sets))] == []


@given(order=st.sampled_from(["sequence", "cycle", "cycle_rev"]), m=st.integers(1, 8), repeats=st.integers(2, 6))
def test_cross_layer_equals_the_released_code_if_m_divides_n(order, m, repeats):
    """Source: takase/share_layer_params, fairseq/models/transformer.py, driven by the group size s = N / M."""
    n, s = m * repeats, repeats
    unique = -(-n // s)
    if order == "sequence":
        released = [i // s for i in range(n)]
    elif order == "cycle":
        released = [i % unique for i in range(n)]
    else:
        released = [*range(unique), *[i % unique for i in range(unique, n - unique)], *reversed(range(unique))]
    assert cross_layer(n, order, m) == released


def test_layer_maps_with_two_names_are_equal():
    for half in range(1, 9):
        assert mirror(2 * half) == cross_layer(2 * half, "cycle_rev", half)
        assert immediate(2 * half) == cross_layer(2 * half, "sequence", half)
        assert same_sets(middle_cycle(2 * half + 2), prelude_loop_coda(2 * half + 2, 1, 1, 2))
        assert same_sets(cross_layer(2 * half, "cycle", half), prelude_loop_coda(2 * half, 0, 0, 2))


@given(order=st.sampled_from(["sequence", "cycle", "cycle_rev"]), n=st.integers(1, 24), m=st.integers(1, 24))
def test_cross_layer_uses_every_set(order, n, m):
    """Source: Takase & Kiyono 2021: M sets, 1 <= M <= N, for all N and M."""
    assert set(cross_layer(n, order, min(m, n))) == set(range(min(m, n)))


@given(prelude=st.integers(0, 4), coda=st.integers(0, 4), block=st.integers(1, 5), repeats=st.integers(1, 5))
def test_prelude_loop_coda_stores_prelude_block_and_coda(prelude, coda, block, repeats):
    """Source: Schwethelm et al. 2026: N_once and N_rec; each block is read `repeats` times, the rest once."""
    read = prelude_loop_coda(prelude + block * repeats + coda, prelude, coda, repeats)
    assert len(set(read)) == prelude + block + coda
    counts = [read.count(s) for s in dict.fromkeys(read)]
    assert counts == [1] * prelude + [repeats] * block + [1] * coda
    assert read[prelude : prelude + block] * repeats == read[prelude : prelude + block * repeats]


@given(n=st.integers(1, 20), data=st.data())
def test_index_vector_is_the_map(n, data):
    heads = data.draw(st.lists(st.integers(1, n), min_size=1, unique=True))
    vector = [i if i in heads else data.draw(st.sampled_from(heads)) for i in range(1, n + 1)]
    assert index_vector(n, vector) == vector


def plan_of(rule: str, n_layers: int, **options):
    return make_plan(make_shape("lm", n_layers=n_layers), {"mine": {"rule": rule, **options}})


def test_notes_tell_where_a_papers_code_differs(golden):
    cases = [
        ("cross_layer", 7, {"n_unique": 3}),
        ("cross_layer", 9, {"order": "cycle_rev", "n_unique": 5}),
        ("middle_sequence", 7, {"repeats": 2}),
        ("mirror", 7, {}),
        ("immediate", 7, {}),
        ("mirror", 1, {}),
    ]
    notes = {f"{rule} {options} on {n}": plan_of(rule, n, **options).notes for rule, n, options in cases}
    assert all(note.startswith("mine: ") for found in notes.values() for note in found)
    golden("plan_notes", {name: "\n".join(found) for name, found in notes.items()})


def test_notes_are_empty_if_the_code_agrees():
    for n, m in DIVISORS:
        for order in ("sequence", "cycle", "cycle_rev"):
            notes = plan_of("cross_layer", n, order=order, n_unique=m).notes
            assert len(notes) == (n == m), (n, m, order)  # one set per layer ties nothing
    assert plan_of("middle_sequence", 8, repeats=3).notes == ()
    assert plan_of("mirror", 8).notes == plan_of("immediate", 8).notes == ()


@pytest.mark.parametrize("sizes", ["random", *ORDERS])
def test_random_map_has_every_set_and_the_sizes_of_its_pattern(sizes):
    maps = {draw: random_map(12, 4, draw, sizes) for draw in range(100)}
    assert all(set(found) == set(range(4)) for found in maps.values())
    assert len({tuple(found) for found in maps.values()}) > 90
    assert maps[7] == random_map(12, 4, 7, sizes)
    if sizes != "random":
        pattern = cross_layer(12, sizes, 4)
        assert all(Counter(found) == Counter(pattern) for found in maps.values())
        # A layer is anywhere: each place has each set as often as the pattern has it, up to chance.
        assert all(5 < sum(found[place] == 0 for found in maps.values()) < 60 for place in range(12))
