"""Time mixing W_j of joint cross-attention, in three forms: over a window, by relative time, and decaying."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from avgate.models.memory import Memory, Remembering

TimeMixing = Literal["window", "relative", "decay"]

CHUNK = 16
"""Steps whose decaying correlations are in memory at once, while a sequence is trained or estimated."""


class WindowMixing(nn.Module):
    """W_j as in the paper: one L x L matrix over the steps of a fixed window, initialised at the identity.

    Shorter inputs use its upper left corner, so padding a window changes nothing. With a bias, X^T W_j also has one
    number per step, zero at first.
    """

    def __init__(self, window: int, biased: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(window))
        self.bias = nn.Parameter(torch.zeros(window)) if biased else None

    def matrix(self, length: int) -> Tensor:
        """W_j for an input of `length` steps: [length length]."""
        window = self.weight.shape[0]
        if length > window:
            raise ValueError(
                f"window time mixing was built for {window} steps and got {length}: "
                "cut the input into windows or use 'relative'"
            )
        return first_of(first_of(self.weight, 0, length), 1, length)

    def forward(self, x: Tensor) -> Tensor:
        """X^T W_j, with the bias if there is one: [b d L] from X^T [b d L]."""
        mixed = x @ self.matrix(x.shape[-1])
        return mixed if self.bias is None else mixed + first_of(self.bias, 0, x.shape[-1])


class RelativeMixing(nn.Module):
    """W_j[s, t] = w[s - t], for any length; offsets beyond the reach use the weight at the reach (Shaw et al. 2018).

    The parameter holds w[-reach] ... w[reach] in this order; it starts as the identity (w[0] = 1, all others 0). A bias
    is one number for all steps.
    """

    def __init__(self, reach: int, biased: bool = False):
        super().__init__()
        self.reach = reach
        weight = torch.zeros(2 * reach + 1)
        weight[reach] = 1.0
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(1)) if biased else None

    def matrix(self, length: int) -> Tensor:
        """W_j for an input of `length` steps: [length length]."""
        step = torch.arange(length, device=self.weight.device)
        offset = (step[:, None] - step[None, :]).clamp(-self.reach, self.reach)
        return self.weight[offset + self.reach]

    def forward(self, x: Tensor) -> Tensor:
        """X^T W_j, with the bias if there is one: [b d L] from X^T [b d L]."""
        mixed = x @ self.matrix(x.shape[-1])
        return mixed if self.bias is None else mixed + self.bias


class DecayMixing(Remembering):
    """Correlations that decay with time, for one step after the other: any length, and no step sees a later one.

        R(t) = lambda R(t-1) + P(t) x(t) j(t)^T         [b d_m d]   P(t): 1 where the modality is present, else 0
        n(t) = lambda n(t-1) + P(t)                     [b]

    What is remembered is the mean M(t) = R(t) / n(t), which is 0 before the modality's first present step, and n(t).
    Where the modality is absent, M stays as it is. lambda in (0, 1) is one number, learned as its logit; at first it is
    exp(-1 / reach). A bias is one number that is added to x.

    A sequence is gone through in chunks, each in parallel. A step that comes alone takes the equations as they stand.

    Args:
        reach: after how many steps a product of features counts 1/e as much, at first.
        dim: d_m.
        joint_dim: d.
        biased: whether there is a bias.
    """

    def __init__(self, reach: int, dim: int, joint_dim: int, biased: bool = False):
        super().__init__()
        self.shape = dim, joint_dim
        self.logit = nn.Parameter(torch.tensor(-math.log(math.expm1(1 / reach))))
        self.bias = nn.Parameter(torch.zeros(1)) if biased else None

    def blank(self) -> dict[str, tuple[int, ...]]:
        """See Remembering: M and n."""
        return {"mean": self.shape, "count": (1,)}

    def forward(
        self,
        x: Tensor,
        present: Tensor,
        joint_masked: Tensor,
        memory: Memory | None,
        use: Callable[[Tensor, Tensor, Tensor], Tensor],
    ) -> Tensor:
        """What `use` makes of every step's M and n, [b L c].

        Args:
            x: [b L d_m].
            present: bool [b L].
            joint_masked: [b L d].
            memory: what is remembered of earlier steps; None where there are none.
            use: of s single steps, x [s 1 d_m], M [s d_m d] and n [s] -> [s 1 c].
        """
        mean, count = self.recall(memory, x)
        if x.shape[1] == 1:
            mean, count = self._step(x, present, joint_masked, mean, count)
            self.keep(memory, mean, count)
            return use(x, mean, count.squeeze(1))
        steps, parts = x.shape[1], []
        again = torch.is_grad_enabled() and not torch.compiler.is_compiling()

        def through(*part: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            x, size = part[0], part[0].shape[1]
            means, counts = self._chunk(*part)
            made = use(x.flatten(0, 1)[:, None], means.flatten(0, 1), counts.flatten(0, 1))
            return made.view(x.shape[0], size, -1), means[:, -1], counts[:, -1:]

        if torch.compiler.is_compiling():  # an exported program has no loop: a sequence of any length is one chunk
            part, mean, count = through(x, present, joint_masked, mean, count)
            self.keep(memory, mean, count)
            return part
        for first in range(0, steps, CHUNK):
            cut = [whole[:, first : first + CHUNK] for whole in (x, present, joint_masked)]
            # Every step has a correlation of its own: to keep them all for the gradients would fill the memory.
            made = checkpoint(through, *cut, mean, count, use_reentrant=False) if again else through(*cut, mean, count)
            part, mean, count = made
            parts.append(part)
        self.keep(memory, mean, count)
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _step(
        self, x: Tensor, present: Tensor, joint_masked: Tensor, mean: Tensor, count: Tensor
    ) -> tuple[Tensor, Tensor]:
        """M [b d_m d] and n [b 1] of one step."""
        here = present.to(x.dtype)
        count = torch.addcmul(here, count, torch.sigmoid(self.logit))
        product = (x if self.bias is None else x + self.bias).transpose(1, 2) * joint_masked
        # n is 1 or more where the modality is present, and elsewhere the mean stays.
        return torch.lerp(mean, product, (here / count.clamp(min=1)).unsqueeze(2)), count

    def _chunk(
        self, x: Tensor, present: Tensor, joint_masked: Tensor, mean: Tensor, count: Tensor
    ) -> tuple[Tensor, Tensor]:
        """M [b K d_m d] and n [b K] of several steps, from M [b d_m d] and n [b 1] before them.

        Both are computed as they were at the last present step, from which on M stays: there, n is 1 or more, however
        long the absence since.
        """
        log_decay = nn.functional.logsigmoid(self.logit)
        step = torch.arange(x.shape[1], device=x.device)
        earlier = present[:, None, :] & (step[None, :] <= step[:, None])  # [b t s]
        last = torch.where(earlier, step, -1).amax(-1)  # [b t]
        weight = torch.where(earlier, torch.exp(log_decay * (last[..., None] - step).clamp(min=0)), 0.0)
        carried = torch.exp(log_decay * (last + 1)) * count
        then = carried + weight.sum(-1)
        share = torch.where(last >= 0, carried / then.clamp(min=1), 1.0)
        weight = weight / then.clamp(min=1)[..., None]
        # Every step's sum is a product of matrices [d_m K] and [K d]: the K outer products are never in memory.
        weighted = weight[:, :, None] * self._known(x, present).transpose(1, 2)[:, None]
        means = torch.addcmul(weighted @ joint_masked[:, None], share[..., None, None], mean[:, None])
        return means, then * torch.exp(log_decay * (step - last))

    def _known(self, x: Tensor, present: Tensor) -> Tensor:
        return (x if self.bias is None else x + self.bias) * present.unsqueeze(-1)


def first_of(weight: Tensor, dim: int, length: int) -> Tensor:
    """Its first entries along one dimension.

    Not a slice: it is contiguous for some lengths only, and torch.export would tie the program to these.
    """
    return weight.index_select(dim, torch.arange(length, device=weight.device))


def time_mixing(
    kind: TimeMixing, window: int | None, reach: int, dims: tuple[int, int], biased: bool = False
) -> WindowMixing | RelativeMixing | DecayMixing:
    """W_j of one modality in one iteration.

    Args:
        kind: `window` needs a window length, the others a reach in steps.
        window: steps.
        reach: steps.
        dims: d_m and d.
        biased: whether there is a bias.
    """
    if kind == "decay":
        return DecayMixing(reach, *dims, biased)
    if kind == "relative":
        return RelativeMixing(reach, biased)
    if window is None:
        raise ValueError("window time mixing needs a fixed window length; use time_mixing='relative' for any length")
    return WindowMixing(window, biased)
