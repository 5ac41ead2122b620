"""What a causal model remembers between two stretches of a sequence, such as two steps of a stream."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Memory:
    """What was remembered before a stretch, and what is remembered after it: name -> [b ...].

    Args:
        before: what the modules kept after the last stretch.

    Attributes:
        after: what they keep now.
    """

    def __init__(self, before: Mapping[str, Tensor]):
        self.before, self.after = before, dict[str, Tensor]()


class Remembering(nn.Module):
    """Base of modules that read earlier steps by what they remember of them.

    Attributes:
        place: the module's name in its model, which begins the names of what it remembers.
    """

    place = ""

    def blank(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape, without the batch, of what is remembered; all of it is 0 before the first step."""
        raise NotImplementedError

    def recall(self, memory: Memory | None, like: Tensor) -> list[Tensor]:
        """What is remembered, in the order of `blank`; of nothing unless there is a memory. As `like` [b ...] is."""
        if memory is not None:
            return [memory.before[f"{self.place}.{name}"] for name in self.blank()]
        return [like.new_zeros(like.shape[0], *shape) for shape in self.blank().values()]

    def keep(self, memory: Memory | None, *kept: Tensor) -> None:
        """Remember these, in the order of `blank`."""
        if memory is not None:
            names = (f"{self.place}.{name}" for name in self.blank())
            memory.after.update(zip(names, kept, strict=True))


def name_places(model: nn.Module) -> None:
    """Give every module that remembers its name in the model."""
    for name, module in model.named_modules():
        if isinstance(module, Remembering):
            module.place = name


def blank_state(model: nn.Module, batch: int) -> dict[str, Tensor]:
    """What a model remembers before its first step: zeros."""
    like = next(model.parameters())
    return {
        f"{module.place}.{name}": torch.zeros(batch, *shape, dtype=like.dtype, device=like.device)
        for module in model.modules()
        if isinstance(module, Remembering)
        for name, shape in module.blank().items()
    }
