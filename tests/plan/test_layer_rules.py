"""Layer maps against lists typed from the papers, and what is refused of maps written by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tietrain.errors import TyingError
from tietrain.plan.layer_rules import (
    all_but_last,
    cross_layer,
    execution,
    immediate,
    index_vector,
    middle_cycle,
    middle_sequence,
    mirror,
    prelude_loop_coda,
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
    # Where M does not divide N the formulas hold.
    ("sequence", 7, 3, "000 11 22"),
    ("cycle", 7, 3, "012 012 0"),
    ("cycle_rev", 7, 3, "0120 210"),
    ("cycle_rev", 9, 5, "0123 43210"),
    ("cycle_rev", 4, 3, "0 210"),
]


@pytest.mark.parametrize(("order", "n", "m", "sets"), TAKASE)
def test_takase_and_kiyono(order, n, m, sets):
    """Source: Takase & Kiyono 2021, section 2 and figure 2."""
    assert cross_layer(n, order, m) == list(map(int, split(sets)))


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 6, 12])
def test_albert_groups(groups):
    """Source: Lan et al. 2019, released code: layer i is of group floor(i G / N), here of 12 layers."""
    lists = {
        1: "000000000000",
        2: "000000111111",
        3: "000011112222",
        4: "000111222333",
        6: "001122334455",
        12: "0123456789ab",
    }
    assert same_sets(cross_layer(12, "sequence", groups), lists[groups])


@pytest.mark.parametrize(
    ("read", "sets"),
    [
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
        # Marian's vector, from 1.
        (index_vector(6, [1, 1, 1, 1, 1, 1]), "000000"),
        (index_vector(6, [1, 2, 1, 2, 5, 5]), "01 01 22"),
        (index_vector(3, [3, 2, 3]), "0 1 0"),
    ],
)
def test_published_maps(read, sets):
    assert same_sets(read, split(sets))


@pytest.mark.parametrize("order", ["sequence", "cycle", "cycle_rev"])
@given(m=st.integers(1, 8), repeats=st.integers(2, 6))
def test_takases_code_gives_the_same_lists_where_m_divides_n(order, m, repeats):
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


@pytest.mark.parametrize("half", range(1, 9))
def test_two_names_of_one_map(half):
    assert mirror(2 * half) == cross_layer(2 * half, "cycle_rev", half)
    assert immediate(2 * half) == cross_layer(2 * half, "sequence", half)
    assert same_sets(middle_cycle(2 * half + 2), prelude_loop_coda(2 * half + 2, 1, 1, 2))
    assert same_sets(cross_layer(2 * half, "cycle", half), prelude_loop_coda(2 * half, 0, 0, 2))


@given(order=st.sampled_from(["sequence", "cycle", "cycle_rev"]), n=st.integers(1, 24), m=st.integers(1, 24))
def test_every_set_is_used(order, n, m):
    """Source: Takase & Kiyono 2021: M sets, 1 <= M <= N, whatever divides whatever."""
    assert set(cross_layer(n, order, min(m, n))) == set(range(min(m, n)))


@given(prelude=st.integers(0, 4), coda=st.integers(0, 4), block=st.integers(1, 5), repeats=st.integers(1, 5))
def test_a_loop_stores_prelude_block_and_coda(prelude, coda, block, repeats):
    """Source: Schwethelm et al. 2026: N_once and N_rec; each block is read `repeats` times, the rest once."""
    read = prelude_loop_coda(prelude + block * repeats + coda, prelude, coda, repeats)
    assert len(set(read)) == prelude + block + coda
    counts = [read.count(s) for s in dict.fromkeys(read)]
    assert counts == [1] * prelude + [repeats] * block + [1] * coda
    assert read[prelude : prelude + block] * repeats == read[prelude : prelude + block * repeats]


@given(n=st.integers(1, 20), data=st.data())
def test_an_index_vector_is_read_as_written(n, data):
    heads = data.draw(st.lists(st.integers(1, n), min_size=1, unique=True))
    vector = [i if i in heads else data.draw(st.sampled_from(heads)) for i in range(1, n + 1)]
    assert index_vector(n, vector) == vector


def plan_of(rule: str, n_layers: int, **options):
    return make_plan(make_shape("lm", n_layers=n_layers), {"mine": {"rule": rule, **options}})


@pytest.mark.parametrize(
    ("rule", "n_layers", "options", "words"),
    [
        ("cross_layer", 7, {"n_unique": 3}, ["order=sequence", "3 sets do not divide 7 layers", "formula is used"]),
        ("cross_layer", 9, {"order": "cycle_rev", "n_unique": 5}, ["order=cycle_rev", "5 sets do not divide 9 layers"]),
        ("middle_sequence", 7, {"repeats": 2}, ["repeats=2", "5 layers between", "released code drops layers"]),
        ("mirror", 7, {}, ["of 7 layers one is run once"]),
        ("immediate", 7, {}, ["of 7 layers one is run once"]),
        ("mirror", 1, {}, ["ties nothing in this model"]),
    ],
)
def test_where_a_papers_code_differs_the_plan_says_so(rule, n_layers, options, words):
    notes = plan_of(rule, n_layers, **options).notes
    assert all(note.startswith("mine: ") for note in notes)
    assert all(word in notes[0] for word in words)


@pytest.mark.parametrize(("n", "m"), DIVISORS)
def test_where_they_agree_it_says_nothing(n, m):
    for order in ("sequence", "cycle", "cycle_rev"):
        notes = plan_of("cross_layer", n, order=order, n_unique=m).notes
        assert notes == (("mine: ties nothing in this model",) if n == m else ())
    assert plan_of("middle_sequence", 8, repeats=3).notes == ()
    assert plan_of("mirror", 8).notes == plan_of("immediate", 8).notes == ()


REFUSED = [
    ("cross_layer", 4, {"n_unique": 5}, ["n_unique=5", "has 4 layers", "choose 1 to 4"]),
    ("cross_layer", 4, {"n_unique": 0}, ["n_unique=0", "choose 1 to 4"]),
    ("cross_layer", 4, {"n_unique": -1}, ["n_unique=-1", "choose 1 to 4"]),
    ("cross_layer", 4, {"n_unique": True}, ["n_unique=True", "of type int"]),
    ("cross_layer", 4, {"n_unique": 2.0}, ["n_unique=2.0", "of type int"]),
    ("cross_layer", 4, {"order": "cylce"}, ["order=cylce", "did you mean cycle"]),
    ("middle_cycle", 5, {}, ["repeats=2", "has 5 layers", "leave 3", "a depth of 2 and a multiple of 2 more"]),
    ("middle_cycle", 8, {"repeats": 4}, ["repeats=4", "leave 6", "a multiple of 4 more, or other repeats"]),
    ("middle_cycle", 2, {}, ["repeats=2", "has 2 layers", "leave 0"]),
    ("middle_cycle", 1, {}, ["repeats=2", "has 1 layers", "leave 0"]),
    ("middle_cycle", 6, {"repeats": 0}, ["repeats=0", "choose 1 or more"]),
    ("middle_sequence", 6, {"repeats": 0}, ["repeats=0", "choose 1 or more"]),
    ("prelude_loop_coda", 20, {"prelude": 2, "coda": 2, "repeats": 3}, ["repeats=3", "leave 16", "depth of 4"]),
    ("prelude_loop_coda", 4, {"prelude": 3, "coda": 3}, ["3 before and 3 after", "leave 0", "depth of 6"]),
    ("prelude_loop_coda", 4, {"prelude": 4}, ["4 before", "leave 0"]),
    ("prelude_loop_coda", 4, {"prelude": -1}, ["prelude=-1", "choose 0 or more"]),
    ("prelude_loop_coda", 4, {"coda": -1}, ["coda=-1", "choose 0 or more"]),
    ("execution", 4, {}, ["blocks=null", "has 4 layers", "0 are listed", "list one for each layer"]),
    ("execution", 4, {"blocks": []}, ["blocks=[]", "0 are listed"]),
    ("execution", 4, {"blocks": ["0-2"]}, ["blocks=[0-2]", "3 are listed"]),
    ("execution", 16, {"blocks": ["0-5", "3-5", "3-10"]}, ["blocks=[0-5,3-5,3-10]", "has 16 layers", "17 are listed"]),
    ("execution", 4, {"blocks": [0, 1, 3, 3]}, ["block 2 is never run", "from 0 without gaps"]),
    ("execution", 4, {"blocks": ["1-4"]}, ["block 0 is never run"]),
    ("execution", 2, {"blocks": [0, 10**12]}, ["block 1 is never run"]),
    ("execution", 4, {"blocks": ["0-9999999999"]}, ["10000000000 are listed"]),
    *(
        ("execution", 4, {"blocks": [entry, 1, 2, 3]}, [f"{entry} is no block or range of blocks", "write them as"])
        for entry in ("x", "", "-", "0-", "-1", -1, "3-1", "0-1-2", "1.5", 1.5, True, None, "0..3")
    ),
    ("index_vector", 4, {}, ["layers=null", "has 4 layers", "0 are listed"]),
    ("index_vector", 4, {"layers": [1, 1, 1]}, ["layers=[1,1,1]", "3 are listed", "list one for each layer"]),
    ("index_vector", 4, {"layers": [1] * 5}, ["5 are listed"]),
    ("index_vector", 4, {"layers": [0, 1, 2, 3]}, ["0 is none of them", "number them from 1 to 4"]),
    ("index_vector", 4, {"layers": [1, 5, 1, 1]}, ["5 is none of them", "number them from 1 to 4"]),
    ("index_vector", 4, {"layers": [1, 1.0, 1, 1]}, ["1.0 is none of them"]),
    ("index_vector", 4, {"layers": [1, "1", 1, 1]}, ["'1' is none of them"]),
    ("index_vector", 4, {"layers": [1, True, 1, 1]}, ["True is none of them"]),
    ("index_vector", 4, {"layers": [1, None, 1, 1]}, ["None is none of them"]),
    ("index_vector", 4, {"layers": [2, 1, 3, 4]}, ["layer 1 reads layer 2, which reads layer 1", "a cycle or a chain"]),
    ("index_vector", 4, {"layers": [2, 3, 1, 4]}, ["layer 1 reads layer 2, which reads layer 3", "a cycle or a chain"]),
    ("index_vector", 4, {"layers": [1, 1, 2, 2]}, ["layer 3 reads layer 2, which reads layer 1", "entry 2 at place 2"]),
]


@pytest.mark.parametrize(("rule", "n_layers", "options", "words"), REFUSED)
def test_refusals_name_what_was_asked_what_is_so_and_what_to_do(rule, n_layers, options, words):
    with pytest.raises(TyingError) as refused:
        plan_of(rule, n_layers, **options)
    error = refused.value
    assert (error.exit_code, error.status) == (2, "not_applicable")
    assert error.setting.startswith(("tying=mine: ", "tying.ties.mine."))
    message = str(error)
    for word in words:
        assert word in message
    assert len(message.splitlines()) == 1 and all([error.setting, error.problem, error.remedy])


def test_the_refusal_names_the_stack_that_does_not_fit():
    shape = make_shape("mt", n_layers=6)
    shallow = type(shape)(**{**shape.__dict__, "stacks": (make_shape("mt", n_layers=5).stacks[0], shape.stacks[1])})
    with pytest.raises(TyingError, match="stack encoder has 5 layers"):
        make_plan(shallow, {"x": {"rule": "middle_cycle"}})
    assert make_plan(shallow, {"x": {"rule": "middle_cycle", "stacks": ["decoder"]}}).groups
