"""How the contracts of fusions and models run: on tiny tensors, and without gradients unless a test asks for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tensors are tiny here, and waiting for a second thread costs more than the work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def no_grad() -> Iterator[None]:
    """A test that needs gradients asks for them by torch.enable_grad."""
    with torch.no_grad():
        yield
