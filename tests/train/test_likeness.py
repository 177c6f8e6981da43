"""Likeness of tables: against its definition, and a measure over runs."""

import pytest
import torch

from tietrain.train.likeness import cka


def test_cka_is_one_of_a_rotated_table_and_none_of_unrelated_ones():
    a, b = torch.randn(2, 300, 16, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    rotation = torch.linalg.qr(b[:16]).Q
    assert cka(a, 3 * a @ rotation + 1) == pytest.approx(1)
    assert abs(cka(a, b)) < 0.02
    halfway = cka(a, a + b)
    assert halfway == pytest.approx(cka(a + b, a)) and 0.3 < halfway < 0.9
