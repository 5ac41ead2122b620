"""Masked attention, the block, against loops over the equation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avgate.models.fusions.blocks import attend

D = 12


def random_inputs(queries: int, keys: int, *leading: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(queries)
    sizes = ((*leading, queries, D), (*leading, keys, D), (*leading, keys, D))
    q, k, v = (torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes)
    present = torch.rand((*leading, keys), generator=generator) < 0.6
    present[0] = False
    return q, k, v, present


def softmax_sum(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """One query and one head: the values' average, weighted by exp(q k / sqrt(d))."""
    weights = np.exp(k @ q / np.sqrt(len(q)))
    return weights @ v / weights.sum() if len(k) else np.zeros(v.shape[1])


@pytest.mark.parametrize("heads", [1, 3, 4])
@pytest.mark.parametrize(("queries", "keys"), [(5, 7), (1, 1), (6, 2)])
def test_each_head_averages_the_present_values_by_its_own_softmax(heads, queries, keys):
    q, k, v, present = random_inputs(queries, keys, 4)
    found = attend(q, k, v, present, heads).numpy()
    for i in range(4):
        here = present[i].numpy()
        for j in range(queries):
            for part in np.array_split(np.arange(D), heads):
                expected = softmax_sum(q[i, j, part].numpy(), k[i, here][:, part].numpy(), v[i, here][:, part].numpy())
                np.testing.assert_allclose(found[i, j, part], expected, rtol=1e-10, atol=1e-12)


def test_sequences_in_two_batch_dimensions_attend_by_themselves():
    q, k, v, present = random_inputs(3, 3, 2, 4)
    flat = attend(*(x.flatten(0, 1) for x in (q, k, v, present)), heads=2)
    torch.testing.assert_close(attend(q, k, v, present, heads=2).flatten(0, 1), flat, rtol=1e-12, atol=1e-12)


def test_without_any_key_the_answer_and_its_gradients_are_zero():
    q, k, v, _ = (x.requires_grad_() if x.is_floating_point() else x for x in random_inputs(5, 7, 2))
    found = attend(q, k, v, torch.zeros(2, 7, dtype=torch.bool), heads=2)
    assert (found == 0).all()
    found.sum().backward()
    assert all((x.grad == 0).all() for x in (q, k, v))
