"""Joint cross-attention, alone and in iterations, in the forms that its authors published and released."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from avgate.models.dropout import Dropout
from avgate.models.fusions.base import joint
from avgate.models.fusions.mixing import DecayMixing, TimeMixing, WindowMixing, first_of, time_mixing
from avgate.models.memory import Memory

CorrelationScale = Literal["sqrt_d", "sqrt_d_and_steps"]
Form = Literal["paper", "released", "rjcma", "additive"]

_HIDDEN = 32
"""k of the additive form, as in its authors' code."""

_FADED = 1e-12
"""Least n whose root scales a decaying correlation."""


@dataclass(frozen=True)
class JointAttentionConfig:
    """Settings common to all fusions with joint cross-attention.

    Args:
        time_mixing: form of W_j: `window` (one matrix for a fixed window), `relative` (any length), or `decay` (any
            length, and no step sees a later one).
        reach: in steps; with `relative`, the largest offset that has its own weight; with `decay`, how long a
            correlation lasts at first, see DecayMixing.
        scale: what correlations are divided by: sqrt(d), or sqrt(d n) with n the number of the modality's present
            steps; with `decay`, n sqrt(d), or sqrt(d n) with n as DecayMixing has it.
        dropout: on the attended part of the features; by `released` and `rjcma` also on C. The authors' code has 0.6
            with these two, and none with `additive`.
        form: the equations of one iteration. All begin with W_j at the identity and a small W_h, which is ours.
            `paper`: those of RJCA's paper, see JointCrossAttention.
            `released`: those of RJCA's and DCA's code, see ReleasedJointCrossAttention.
            `rjcma`: those of RJCMA's code, which are `released` with J as it is.
            `additive`: those of JCA's paper and code, see AdditiveJointCrossAttention; they need a fixed window.
        hidden: k, features of H in the `additive` form.
    """

    time_mixing: TimeMixing = "window"
    reach: int = 50
    scale: CorrelationScale = "sqrt_d"
    dropout: float = 0.1
    # Left out of files where they are the defaults, so that versions without these settings can still read them.
    form: Form = field(default="paper", metadata={"omit_default": True})
    hidden: int = field(default=_HIDDEN, metadata={"omit_default": True})

    def __post_init__(self) -> None:
        if self.reach < 0 or not 0 <= self.dropout < 1:
            raise ValueError(f"joint cross-attention needs reach >= 0 and dropout in [0, 1), not {self}")
        if self.time_mixing == "decay" and self.reach < 1:
            raise ValueError("time_mixing=decay needs a reach of 1 step or more")
        if self.form == "additive" and self.time_mixing != "window":
            raise ValueError("the form 'additive' has weights for every step of a window: it needs time_mixing=window")
        if self.hidden < 1 or (self.hidden != _HIDDEN and self.form != "additive"):
            raise ValueError(f"hidden is 1 or more, and only the form 'additive' has it, not '{self.form}'")


class JointFeatures(nn.Module):
    """J [b L d] of one iteration: all modalities side by side, each zero where it is absent.

    In the form `released`, J is then J W_q + b_q, and zero where every modality is absent; W_q [d d] is stored
    transposed, as in torch.nn.Linear, and serves all modalities of an iteration.
    """

    def __init__(self, dim: int, form: Form):
        super().__init__()
        self.query = nn.Linear(dim, dim) if form == "released" else None

    def forward(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The features [b L d_m] of every modality m, 0 where its presence [b L] is, and J."""
        masked = {m: x * present[m].unsqueeze(-1) for m, x in features.items()}
        together = joint(masked)
        if self.query is not None:
            together = self.query(together) * torch.stack([present[m] for m in features]).any(0)[..., None]
        return masked, together


class JointCrossAttention(nn.Module):
    """One modality's joint cross-attention in one iteration, as in RJCA's paper (arXiv 2304.07958).

        C = tanh( X^T W_j J / sqrt(d) )     [b d_m d]
        H = ReLU( X W_c C )                 [b L d]
        X_att = X + dropout( H W_h )        [b L d_m]

    In the correlation C, X and J are zero at steps where a modality is absent. With the scale `sqrt_d_and_steps`, C is
    zero if the modality has no present step.

    With `decay`, every step has a C of its own, [d_m d], of what came until then. With R and n as in DecayMixing:

        C(t) = tanh( R(t) / ( n(t) sqrt(d) ) ),  or with the scale `sqrt_d_and_steps`  tanh( R(t) / sqrt( n(t) d ) )

    Args:
        config: settings.
        dim: d_m, features of this modality.
        joint_dim: d, features of all modalities together.
        window: steps of the window; None where any length will do.
    """

    biased = False
    """Whether X^T W_j has a bias."""

    def __init__(self, config: JointAttentionConfig, dim: int, joint_dim: int, window: int | None):
        super().__init__()
        self.mixing = time_mixing(config.time_mixing, window, config.reach, (dim, joint_dim), self.biased)
        self.scale = config.scale
        self.dropout = Dropout(config.dropout)
        self.add_weights(config, dim, joint_dim)

    def add_weights(self, config: JointAttentionConfig, dim: int, joint_dim: int) -> None:
        """Make W_c and W_h."""
        self.w_c = nn.Parameter(nn.init.xavier_uniform_(torch.empty(dim, dim)))
        # H sums d terms of one sign: with Xavier's usual gain, H W_h would drown X and saturate the head.
        self.w_h = nn.Parameter(nn.init.xavier_uniform_(torch.empty(joint_dim, dim), gain=0.1))

    def forward(
        self, x: Tensor, x_masked: Tensor, present: Tensor, joint_masked: Tensor, memory: Memory | None = None
    ) -> Tensor:
        """X_att [b L d_m] from x [b L d_m], the same with zeros where absent, presence [b L] and J (see JointFeatures).

        With `decay`, a memory says what came before.
        """
        if isinstance(self.mixing, DecayMixing):
            # J is scaled and not M, which has many times as many numbers.
            scaled = joint_masked / math.sqrt(joint_masked.shape[-1])
            return x + self.dropout(self.mixing(x, present, scaled, memory, self._attended_at_once))
        # X^T W_j first: it has fewer columns than W_j J, since d_m is below d.
        correlation = self.mixing(x_masked.transpose(1, 2)) @ joint_masked / math.sqrt(joint_masked.shape[-1])
        if self.scale == "sqrt_d_and_steps":
            steps = present.sum(1).clamp(min=1).to(x.dtype)
            correlation = correlation / steps.sqrt()[:, None, None]
        return x + self.dropout(self.attended(x, x_masked, torch.tanh(correlation)))

    def _attended_at_once(self, x: Tensor, mean: Tensor, count: Tensor) -> Tensor:
        """What is added to single steps x [s 1 d_m], from each one's M / sqrt(d) [s d_m d] and n [s]."""
        if self.scale == "sqrt_d_and_steps":
            # The root of 0 has no gradient, and M is 0 there or faded.
            mean = mean * count.clamp(min=_FADED).sqrt()[:, None, None]
        # 1 - 2 sigmoid(-2 M) is tanh(M), which takes torch twice as long on a CPU.
        return self.attended(x, x, torch.rsub(torch.sigmoid(-2 * mean), 1, alpha=2))

    def attended(self, x: Tensor, x_masked: Tensor, correlation: Tensor) -> Tensor:
        """What is added to X, [b L d_m], from X, X with zeros in absent steps, and C [b d_m d]."""
        return torch.relu_(torch.bmm(x @ self.w_c, correlation)) @ self.w_h


class ReleasedJointCrossAttention(JointCrossAttention):
    """One modality's joint cross-attention in one iteration, as in its authors' code for RJCA, DCA and RJCMA.

        C = dropout( tanh( ( X^T W_j + b_j ) J / sqrt(d) ) )            [b d_m d]
        H = ReLU( tanh( ( X W_c + b_c ) C ) )                           [b L d]
        X_att = X + dropout( ReLU( H W_h + b_h ) )                      [b L d_m]

    b_j is one number per step, or one for all with `relative` mixing; b_c and b_h are one per feature. J is
    J W_q + b_q in RJCA's and DCA's code. RJCMA's code computes that, too, and then takes J as it is.

    Source: `models/dense_coattn.py` and `models/av_crossatten.py` of
    github.com/praveena2j/Joint-Cross-Attention-for-Audio-Visual-Fusion, on which RJCA's own repository
    (praveena2j/RecurrentJointAttentionwithLSTMs) builds; `models/dense_coattn.py` of praveena2j/Dynamic-CrossAttention
    and of praveena2j/RJCMA. They know no absent steps.
    """

    biased = True

    def add_weights(self, config: JointAttentionConfig, dim: int, joint_dim: int) -> None:
        """Make W_c, W_h and their biases."""
        super().add_weights(config, dim, joint_dim)
        self.b_c, self.b_h = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))

    def attended(self, x: Tensor, x_masked: Tensor, correlation: Tensor) -> Tensor:
        """See JointCrossAttention.attended."""
        hidden = torch.relu(torch.tanh((x @ self.w_c + self.b_c) @ self.dropout(correlation)))
        return torch.relu(hidden @ self.w_h + self.b_h)


class AdditiveJointCrossAttention(JointCrossAttention):
    """One modality's joint cross-attention as in JCA's paper (arXiv 2203.14779) and its code.

        C = tanh( X^T W_j J / sqrt(d) )                 [b d_m d]
        H = ReLU( C W_ca + X^T W_a )                    [b d_m k]     W_ca : d x k,  W_a : L x k
        X_att = X + dropout( (H W_h)^T )                [b L d_m]     W_h : k x L

    X is never multiplied by C. In C and in X^T W_a, X and J are zero at steps where a modality is absent. Sequences
    shorter than the window use the first rows of W_a and the first columns of W_h.

    Source: `models/cam.py` of github.com/praveena2j/JointCrossAttentional-AV-Fusion (L = 8, k = 32, no biases). Its
    regressor then reads the visual features before the attention beside those after it, and no audio; here the attended
    features of all modalities go on, as in the paper.
    """

    def add_weights(self, config: JointAttentionConfig, dim: int, joint_dim: int) -> None:
        """Make W_ca, W_a and W_h."""
        assert isinstance(self.mixing, WindowMixing)  # the config refuses all others
        window, k = self.mixing.weight.shape[0], config.hidden
        self.w_ca = nn.Parameter(nn.init.xavier_uniform_(torch.empty(joint_dim, k)))
        self.w_a = nn.Parameter(nn.init.xavier_uniform_(torch.empty(window, k)))
        self.w_h = nn.Parameter(nn.init.xavier_uniform_(torch.empty(k, window), gain=0.1))

    def attended(self, x: Tensor, x_masked: Tensor, correlation: Tensor) -> Tensor:
        """See JointCrossAttention.attended."""
        length = x.shape[1]
        own = x_masked.transpose(1, 2) @ first_of(self.w_a, 0, length)
        hidden = torch.relu(correlation @ self.w_ca + own)
        return (hidden @ first_of(self.w_h, 1, length)).transpose(1, 2)


_FORMS: dict[Form, type[JointCrossAttention]] = {
    "paper": JointCrossAttention,
    "released": ReleasedJointCrossAttention,
    "rjcma": ReleasedJointCrossAttention,
    "additive": AdditiveJointCrossAttention,
}


def joint_attention(config: JointAttentionConfig, dim: int, joint_dim: int, window: int | None) -> JointCrossAttention:
    """One modality's joint cross-attention in one iteration, in the config's form; arguments as JointCrossAttention."""
    return _FORMS[config.form](config, dim, joint_dim, window)


class RecursiveJointCrossAttention(nn.Module):
    """T iterations of joint cross-attention of all modalities; each reads the attended features of the one before.

        X_m^(0) = X_m                                                            [b L d_m]
        X_m^(t) = X_att of JointCrossAttention from X_m^(t-1) and J^(t-1)        [b L d_m], t = 1 ... T

    J^(t-1) are the JointFeatures of all X_n^(t-1), [b L d]. All weights are separate for every iteration, and, but for
    those of J, for every modality. `form` chooses JointCrossAttention or another form of it.
    """

    def __init__(self, config: JointAttentionConfig, iterations: int, dims: Mapping[str, int], window: int | None):
        super().__init__()
        self.dims, joint_dim = dict(dims), sum(dims.values())
        self.iterations = nn.ModuleList(
            nn.ModuleDict({m: joint_attention(config, dim, joint_dim, window) for m, dim in dims.items()})
            for _ in range(iterations)
        )
        self.joints = nn.ModuleList(JointFeatures(joint_dim, config.form) for _ in range(iterations))

    def forward(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], memory: Memory | None = None
    ) -> dict[str, list[Tensor]]:
        """X_m^(0) ... X_m^(T), each [b L d_m], from features [b L d_m] and presence [b L] of every modality m."""
        found = {m: [features[m]] for m in self.dims}
        for iteration, joint_features in zip(self.iterations, self.joints, strict=True):
            masked, together = joint_features({m: x[-1] for m, x in found.items()}, present)
            for m, x in found.items():
                x.append(iteration.get_submodule(m)(x[-1], masked[m], present[m], together, memory))
        return found
