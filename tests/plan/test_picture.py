"""Owner maps as they are printed."""

import pytest
from tietrain.plan.picture import owner_map

from expected_ties import ties_of
from tietrain.plan.plan import resolve
from tietrain.plan.schemes import make_plan
from tiny_models import make_shape

SANDWICH = """\
decoder           0 1 2 3
  embed           own
  final_norm      own
  output          own
  self_attn_norm  0 1 2 3
  self_attn       0 1 1 3
  ffn_norm        0 1 2 3
  ffn             0 1 1 3
"""

ONE_LAYER = """\
encoder            0 1
  embed            own
  self_attn        0 0
  self_attn_norm   0 0
  ffn              0 0
  ffn_norm         0 0
decoder             0  1
  embed            encoder.embed
  output           encoder.embed
  self_attn        e0 e0
  self_attn_norm   e0 e0
  cross_attn        0  0
  cross_attn_norm   0  0
  ffn              e0 e0
  ffn_norm         e0 e0
"""

QUERY_KEY = """\
decoder                0  1
  embed               own
  positions           own
  output.weight       decoder.embed
  output.bias         own
  self_attn.q.weight   0  1
  self_attn.k.weight  0q 1q
  self_attn.v.weight   0  1
  self_attn.o.weight   0  1
  self_attn_norm       0  1
  ffn                  0  1
  ffn_norm             0  1
"""


def picture(task, ties, **options) -> str:
    return "".join(f"{line}\n" for line in owner_map(make_plan(make_shape(task, **options), ties)))


def test_a_sandwich_keeps_its_norms():
    assert picture("lm", ties_of("sandwich")) == SANDWICH


def test_one_layer_and_one_table_for_two_stacks():
    ties = ties_of("three_way") | ties_of("one_layer")
    assert picture("mt", ties, n_layers=2, norm_position="post") == ONE_LAYER


def test_a_part_of_several_owners_has_a_row_a_tensor():
    ties = ties_of("pre_softmax") | ties_of("query_key")
    shown = picture("lm", ties, n_layers=2, norm_position="post", positions="learned", output_bias=True)
    assert shown == QUERY_KEY


def test_ten_layers_and_more_stay_in_their_columns():
    rows = picture("lm", {"x": {"rule": "mirror"}}, n_layers=12).splitlines()
    assert rows[0].split()[1:] == [str(i) for i in range(12)]
    assert {len(row) for row in rows if not row.endswith("own")} == {len(rows[0])}
    assert rows[-1].split()[1:] == ["0", "1", "2", "3", "4", "5", "5", "4", "3", "2", "1", "0"]


def test_one_layer_is_one_column():
    rows = picture("lm", ties_of("pre_softmax"), n_layers=1).splitlines()
    assert rows[0] == "decoder           0"
    assert rows[3:5] == ["  output          decoder.embed", "  self_attn_norm  0"]


@pytest.mark.parametrize("task", ["lm", "mt"])
def test_every_row_of_an_untied_model_is_its_own(task):
    lines = owner_map(resolve(make_shape(task), []))
    for line in lines:
        assert line.split()[1:] in ([["own"], ["0", "1", "2", "3"]]), line
