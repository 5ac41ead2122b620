"""Encoders of single modalities, before the fusion. Absent steps never influence present ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import zip_longest
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from avgate.models.convolution import is_fast, joined, rectified
from avgate.models.dropout import Dropout
from avgate.models.memory import Memory, Remembering

Activation = Literal["relu", "leaky_relu"]
_SLOPES: dict[Activation, float] = {"relu": 0.0, "leaky_relu": 0.01}
"""Below zero."""


@dataclass(frozen=True)
class TcnConfig:
    """Linear layer and temporal convolutional network (Bai et al. 2018, arXiv 1803.01271).

    Args:
        channels: output features of each residual block; block i has dilation 2^i.
        kernel: taps of each convolution.
        dropout: after each convolution.
        causal: whether a step sees only the past (for streams); else as much future as past.
        activation: after each convolution and each block: `relu`, or `leaky_relu` with a slope of 0.01 below zero.
        projection: whether the linear layer is there, which takes the input to the first block's features. Without it,
            the first block reads the input itself.
    """

    tag: ClassVar[str] = "TcnConfig"

    channels: tuple[int, ...] = (64, 64, 64)
    kernel: int = 5
    dropout: float = 0.1
    causal: bool = False
    # Left out of files where they are the defaults, so that versions without these settings can still read them.
    activation: Activation = field(default="relu", metadata={"omit_default": True})
    projection: bool = field(default=True, metadata={"omit_default": True})

    def __post_init__(self) -> None:
        if (
            not self.channels
            or min(self.channels) < 1
            or self.kernel < 1
            or self.kernel % 2 == 0
            or not 0 <= self.dropout < 1
        ):
            raise ValueError(f"a TCN needs channels, an odd kernel and a dropout in [0, 1), not {self}")

    @property
    def dim(self) -> int:
        """Output features."""
        return self.channels[-1]

    def with_dim(self, dim: int) -> TcnConfig:
        """The same config with `dim` features in every block."""
        return replace(self, channels=(dim,) * len(self.channels))


@dataclass(frozen=True)
class GruConfig:
    """Linear layer and a (bidirectional) gated recurrent unit (GRU) that skips absent steps.

    Args:
        dim: output features; half for each direction.
        layers: number of stacked GRUs.
        dropout: before each layer.
        causal: whether to run forward in time only (for streams).
    """

    tag: ClassVar[str] = "GruConfig"

    dim: int = 64
    layers: int = 1
    dropout: float = 0.1
    causal: bool = False

    def __post_init__(self) -> None:
        if self.dim < 1 or self.layers < 1 or not 0 <= self.dropout < 1 or (not self.causal and self.dim % 2):
            raise ValueError(
                f"a recurrent encoder needs layers, a dropout in [0, 1) and a dim (even in both directions), not {self}"
            )

    def with_dim(self, dim: int) -> GruConfig:
        """The same config with `dim` output features."""
        return replace(self, dim=dim)


@dataclass(frozen=True)
class LstmConfig(GruConfig):
    """As GruConfig with LSTMs, as in RJCA (arXiv 2304.07958); on a CPU several times faster than GRUs."""

    tag: ClassVar[str] = "LstmConfig"


EncoderConfig = TcnConfig | GruConfig | LstmConfig


class MaskedConv(Remembering):
    """Weight-normalised convolution over time, centred or causal; zero padding keeps the length.

    A causal one remembers the last steps of its input.
    """

    def __init__(self, in_dim: int, out_dim: int, kernel: int, dilation: int, causal: bool):
        super().__init__()
        span = (kernel - 1) * dilation
        self.padding = (span, 0) if causal else (span // 2, span - span // 2)
        self.conv = weight_norm(nn.Conv1d(in_dim, out_dim, kernel, dilation=dilation))

    def fold(self) -> None:
        """Work the normalisation into the weights, for estimates alone: to do so anew takes half the time of a step."""
        old = self.conv
        plain = nn.Conv1d(old.in_channels, old.out_channels, old.kernel_size, dilation=old.dilation)
        self.conv = plain.to(old.weight)
        self.conv.load_state_dict({"weight": old.weight, "bias": old.bias})

    def blank(self) -> dict[str, tuple[int, ...]]:
        """See Remembering: the last (kernel - 1) * dilation steps, one after the other."""
        return {"past": (self.padding[0] * self.conv.in_channels,)}

    def forward(self, x: Tensor, mask: Tensor, memory: Memory | None = None) -> Tensor:
        """[b out L] from [b in L]; zero where the mask [b 1 L] is 0. A memory says what came before."""
        if memory is None:
            return self.conv(nn.functional.pad(x, self.padding)) * mask
        whole = self._go_on(x.transpose(1, 2).flatten(1), memory)
        return self.conv(whole.unflatten(1, (-1, x.shape[1])).transpose(1, 2)) * mask

    def step(self, x: Tensor, memory: Memory) -> Tensor:
        """[b out] of one step, from [b in]. It is one product; a convolution takes several times as long to set up."""
        taps, dilation, width = self._go_on(x, memory), self.conv.dilation[0], x.shape[1]
        if dilation > 1:
            first = torch.arange(0, self.padding[0] + 1, dilation, device=x.device) * width
            taps = taps.index_select(1, (first[:, None] + torch.arange(width, device=x.device)).flatten())
        return nn.functional.linear(taps, self.conv.weight.transpose(1, 2).flatten(1), self.conv.bias)

    def _go_on(self, x: Tensor, memory: Memory) -> Tensor:
        """What is remembered, and the next steps [b L * in] after it."""
        (past,) = self.recall(memory, x)
        whole = torch.cat([past, x], dim=1)
        self.keep(memory, whole.narrow(1, x.shape[1], past.shape[1]))
        return whole


class TcnBlock(nn.Module):
    """Residual block: two masked convolutions, each with activation and dropout, and a skip connection."""

    def __init__(self, in_dim: int, out_dim: int, config: TcnConfig, dilation: int):
        super().__init__()
        self.first = MaskedConv(in_dim, out_dim, config.kernel, dilation, config.causal)
        self.second = MaskedConv(out_dim, out_dim, config.kernel, dilation, config.causal)
        self.skip = nn.Conv1d(in_dim, out_dim, 1) if in_dim != out_dim else nn.Identity()
        self.dropout = Dropout(config.dropout)
        self.slope = _SLOPES[config.activation]

    def forward(self, x: Tensor, mask: Tensor, memory: Memory | None = None) -> Tensor:
        """[b out L] from [b in L]; zero where the mask [b 1 L] is 0."""
        hidden = self.dropout(self.activation(self.first(x, mask, memory)))
        hidden = self.dropout(self.activation(self.second(hidden, mask, memory)))
        return self.activation(hidden + self.skip(x)) * mask

    def train_at_once(self, x: Tensor, absent: Tensor) -> Tensor:
        """The same for training, time first: [L b out] from [L b in] and the indices of absent steps among L b."""
        hidden = self._rectified(self.second, self._rectified(self.first, x, absent), absent)
        skipped = x
        if isinstance(self.skip, nn.Conv1d):
            skipped = nn.functional.linear(x, self.skip.weight.squeeze(2), self.skip.bias)
        return joined(hidden, skipped, absent, self.slope)

    def _rectified(self, layer: MaskedConv, x: Tensor, absent: Tensor) -> Tensor:
        # Drawn in the order of forward's dropout, so that both take the same random numbers.
        conv, noise = layer.conv, self.dropout.noise((x.shape[1], layer.conv.out_channels, len(x)), x)
        scale = 1.0
        if noise is not None:
            noise, scale = noise.permute(2, 0, 1), self.dropout.scale
        before, (dilation,) = layer.padding[0], conv.dilation
        how = {"before": before, "dilation": dilation, "slope": self.slope, "scale": scale}
        return rectified(x, conv.weight, conv.bias, absent, noise, **how)

    def activation(self, x: Tensor) -> Tensor:
        """ReLU, leaky or not, in place: all that is given to it is new."""
        return nn.functional.leaky_relu_(x, self.slope) if self.slope else torch.relu_(x)

    def step(self, x: Tensor, mask: Tensor, memory: Memory) -> Tensor:
        """The same of one step in eval mode, [b out] from [b in] and the mask [b 1]."""
        hidden = self.activation(self.first.step(x, memory)) * mask
        hidden = self.activation(self.second.step(hidden, memory))
        skipped = x if isinstance(self.skip, nn.Identity) else self.skip(x.unsqueeze(2)).squeeze(2)
        return self.activation(hidden + skipped) * mask


class Tcn(nn.Module):
    """Temporal convolutional network, see TcnConfig."""

    def __init__(self, in_dim: int, config: TcnConfig):
        super().__init__()
        self.config = config
        self.project = nn.Linear(in_dim, config.channels[0]) if config.projection else nn.Identity()
        dims = (config.channels[0] if config.projection else in_dim, *config.channels)
        self.blocks = nn.ModuleList(
            TcnBlock(dims[i], dims[i + 1], config, dilation=2**i) for i in range(len(config.channels))
        )

    def forward(self, x: Tensor, present: Tensor, memory: Memory | None = None) -> Tensor:
        """[b L dim] from [b L in_dim] and presence [b L]; absent steps come out as zero."""
        if memory is not None and x.shape[1] == 1:
            return self._step(x.squeeze(1), present, memory).unsqueeze(1)
        if memory is None and is_fast(x, self.config.kernel, self.config.channels):
            return self._train_at_once(x, present)
        mask = present[:, None, :].to(x.dtype)
        hidden = self.project(x).transpose(1, 2) * mask
        for block in self.blocks:
            hidden = block(hidden, mask, memory)
        return hidden.transpose(1, 2)

    def _train_at_once(self, x: Tensor, present: Tensor) -> Tensor:
        """The same for training: faster, and alike up to rounding."""
        absent = (~present.T).flatten().nonzero().squeeze(1)
        hidden = (self.project(x) * present[..., None]).transpose(0, 1).contiguous()
        for block in self.blocks:
            assert isinstance(block, TcnBlock)
            hidden = block.train_at_once(hidden, absent)
        return hidden.transpose(0, 1).contiguous()

    def _step(self, x: Tensor, present: Tensor, memory: Memory) -> Tensor:
        """[b dim] of one step, from [b in_dim] and presence [b 1]."""
        mask = present.to(x.dtype)
        hidden = self.project(x) * mask
        for block in self.blocks:
            assert isinstance(block, TcnBlock)
            hidden = block.step(hidden, mask, memory)
        return hidden


class Recurrent(Remembering):
    """Recurrent encoder, see GruConfig and LstmConfig.

    Each direction is a unit of its own over padded sequences. torch runs packed sequences step by step on a CPU, but
    has one fast kernel for a whole padded LSTM.
    """

    def __init__(self, unit: type[nn.GRU] | type[nn.LSTM], in_dim: int, config: GruConfig):
        super().__init__()
        self.project = nn.Linear(in_dim, config.dim)
        self.dropout = Dropout(config.dropout)
        dim, layers = config.dim if config.causal else config.dim // 2, range(config.layers)
        self.state = dim
        self.forward_units = nn.ModuleList(unit(config.dim, dim, batch_first=True) for _ in layers)
        backward_layers = () if config.causal else layers
        self.backward_units = nn.ModuleList(unit(config.dim, dim, batch_first=True) for _ in backward_layers)

    def blank(self) -> dict[str, tuple[int, ...]]:
        """See Remembering: of each layer the state h, and of an LSTM c too."""
        parts = "hc" if isinstance(self.forward_units[0], nn.LSTM) else "h"
        return {f"{part}{i}": (self.state,) for i in range(len(self.forward_units)) for part in parts}

    def forward(self, x: Tensor, present: Tensor, memory: Memory | None = None) -> Tensor:
        """[b L dim] from [b L in_dim] and presence [b L]; absent steps come out as zero."""
        if memory is not None:
            return self._go_on(x, present, memory)
        # Move present steps to the front, in order, so that no unit sees an absent step before or between them.
        order = torch.argsort((~present).to(torch.int8), dim=1, stable=True)
        step, count = torch.arange(x.shape[1], device=x.device), present.sum(1, keepdim=True)
        backwards = torch.where(step < count, count - 1 - step, step)
        hidden = _take(torch.relu(self.project(x)), order)
        for forward, backward in zip_longest(self.forward_units, self.backward_units):
            hidden = self.dropout(hidden)
            parts = [forward(hidden)[0]]
            if backward is not None:
                parts.append(_take(backward(_take(hidden, backwards))[0], backwards))
            hidden = torch.cat(parts, dim=-1)
        return _take(hidden, torch.argsort(order, dim=1)) * present[..., None]

    def _go_on(self, x: Tensor, present: Tensor, memory: Memory) -> Tensor:
        """The same from what is remembered, step by step; absent steps leave it as it is."""
        kept, parts = self.recall(memory, x), []
        for step, here in zip(torch.relu(self.project(x)).split(1, 1), present.split(1, 1), strict=True):
            hidden, after = step, list[Tensor]()
            for unit in self.forward_units:
                before = [kept[len(after) + i] for i in range(2 if isinstance(unit, nn.LSTM) else 1)]
                states = tuple(state[None] for state in before)
                hidden, new = unit(hidden, states if len(states) > 1 else states[0])
                made = new if isinstance(new, tuple) else (new,)
                after += [torch.where(here, now[0], was) for now, was in zip(made, before, strict=True)]
            kept = after
            parts.append(hidden * here[..., None])
        self.keep(memory, *kept)
        return torch.cat(parts, dim=1)


def _take(x: Tensor, order: Tensor) -> Tensor:
    """Steps of x [b L d] in another order [b L]; index_select copies whole rows and is faster than gather."""
    rows = order + x.shape[1] * torch.arange(x.shape[0], device=x.device)[:, None]
    return x.flatten(0, 1).index_select(0, rows.flatten()).view_as(x)


_BUILDERS: dict[type, Callable[[int, Any], nn.Module]] = {
    TcnConfig: Tcn,
    GruConfig: partial(Recurrent, nn.GRU),
    LstmConfig: partial(Recurrent, nn.LSTM),
}


def build_encoder(in_dim: int, config: EncoderConfig) -> nn.Module:
    """The encoder that a config describes: (x [b L in_dim], present [b L]) -> [b L config.dim].

    A causal one also takes a memory of the steps before.
    """
    return _BUILDERS[type(config)](in_dim, config)
