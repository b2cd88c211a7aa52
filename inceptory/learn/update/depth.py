"""Which parts of a network learn, and at which share of the rate.

The first stages of a network see what all pictures have, the last ones what the task asks for (Yosinski et al. 2014,
arXiv 1411.1792). So a network that is trained further may keep its lower stages as they are, and move those above
them the less the lower they lie: "discriminative fine-tuning" of Howard & Ruder 2018 (arXiv 1801.06146, section 3.2).
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from inceptory.nets.layers import NORMS
from inceptory.nets.network import Network


def scales(net: Network, unfreeze: float, depth_rate: float) -> dict[str, float]:
    """Factor on the learning rate of each part that learns: the head, auxiliary ones, and stages from the top.

    `unfreeze` is the share of the stages that have weights, rounded up. Heads have the full rate, the last stage
    `depth_rate` of it, and each stage so much of the one above. An auxiliary head learns where its stage does.
    """
    weighty = [name for name in net.stage_names if any(True for _ in net.get_submodule(name).parameters())]
    # Rounded first: three seventeenths of seventeen stages are three, and not a little more.
    count = max(math.ceil(round(unfreeze * len(weighty), 6)), 1)
    lowest = net.stage_names.index(weighty[-count])
    factors = {"head": 1.0}
    factors |= {aux.name: 1.0 for aux in net.plan.tree.aux if net.stage_names.index(aux.after) >= lowest}
    return factors | {name: depth_rate**depth for depth, name in enumerate(reversed(weighty[-count:]), 1)}


class Frozen:
    """The parts of a network that do not learn: without gradients, and as in answering while the others train.

    With `norms` every batch norm is one of them: of few pictures, batches tell less than what a network remembers.
    """

    def __init__(self, net: Network, unfreeze: float, norms: bool = False) -> None:
        learning = scales(net, unfreeze, 1.0)
        self.names = [name for name, part in net.named_children() if name not in learning and list(part.parameters())]
        """Stages and auxiliary heads by name."""
        for name in self.names:
            net.get_submodule(name).requires_grad_(False)
        still = [name for name, part in net.named_modules() if norms and isinstance(part, NORMS)]
        for name in still:
            net.get_submodule(name).requires_grad_(False)
        self._all = [*self.names, *still]
        self._parts = [net.get_submodule(name) for name in self._all]
        self._statistics = [buffer.clone() for buffer in self._buffers(net)]

    def rest(self) -> None:
        """Put them into eval mode: norms take no batch in and dropout drops nothing."""
        for part in self._parts:
            part.eval()

    def unchanged(self, net: Network) -> bool:
        """Whether the norms of these parts, in this network or its average, remember what they did at the start."""
        pairs = zip(self._buffers(net), self._statistics, strict=True)
        return all(bool((mine == before).all()) for mine, before in pairs)

    def _buffers(self, net: nn.Module) -> list[Tensor]:
        return [buffer for name in self._all for buffer in net.get_submodule(name).buffers()]
