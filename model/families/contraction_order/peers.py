"""Orders from today's libraries for contractions, cotengra and opt_einsum: `pip install 'monosweep[peers]'`.

Network ──library──> trees of pairwise contractions ──> bonds in that order
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from monosweep.model.config import Meanings
from monosweep.model.families.contraction_order.cost import Costs

Path = Sequence[Sequence[int]]
"""Places of the tensors that are contracted next; they leave the list, and the new one is its last."""
Spend = Callable[[], None]


class Terms:
    """A network as those libraries take it: tensors that have bonds, each a word of them."""

    def __init__(self, costs: Costs) -> None:
        self._costs = costs
        self._masks = [mask for mask in costs.masks if mask]
        dims = costs.network.dims
        self.inputs = [tuple(bond for bond in range(len(dims)) if mask >> bond & 1) for mask in self._masks]
        self.sizes = dict(enumerate(dims))

    def order(self, path: Path) -> list[int]:
        """The bonds as a path contracts them; of those that two tensors share the larger first."""
        masks, order = list(self._masks), list[int]()
        for places in path:
            whole = 0
            for mask in [masks.pop(place) for place in sorted(places, reverse=True)]:
                order += self._costs.shared(whole, mask)
                whole ^= mask
            masks.append(whole)
        return order


def orders(method: str, costs: Costs, seed: int, spend: Spend) -> Iterator[list[int]]:
    """One order after another, as many as the method has or may be had.

    Args:
        spend: is told before each tree is looked for.
    """
    terms = Terms(costs)
    for path in _METHODS[method](terms, seed, spend):
        yield terms.order(path)


def _greedy(terms: Terms, seed: int, spend: Spend) -> Iterator[Path]:
    from cotengra.pathfinders.path_basic import optimize_greedy  # late: an extra

    spend()
    with _seeded(seed):
        path: Path = optimize_greedy(terms.inputs, (), terms.sizes)
    yield path


def _random_greedy(terms: Terms, seed: int, spend: Spend) -> Iterator[Path]:
    from cotengra.pathfinders.path_basic import optimize_random_greedy_track_flops  # late: an extra

    seeds = random.Random(seed)
    while True:
        spend()
        path, _ = optimize_random_greedy_track_flops(terms.inputs, (), terms.sizes, seed=seeds.getrandbits(32))
        yield path


def _hyper(terms: Terms, seed: int, spend: Spend) -> Iterator[Path]:
    """Each tree is drawn and then reconfigured, part by part; the best so far."""
    from cotengra import HyperOptimizer  # late: an extra

    optimizer: Any = None
    seeds = random.Random(seed)
    while True:
        spend()
        with _seeded(seeds.getrandbits(32)), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of partitioners that are not there
            optimizer = optimizer or HyperOptimizer(
                methods=["greedy", "labels"], max_repeats=1, parallel=False, optlib="random",
                optlib_opts={"seed": seed},
            )  # fmt: skip
            path: Path = optimizer.search(terms.inputs, (), terms.sizes).get_path()
        yield path


def _dynamic(terms: Terms, seed: int, spend: Spend) -> Iterator[Path]:
    from opt_einsum import DynamicProgramming  # late: an extra

    spend()
    yield DynamicProgramming(minimize="flops")([frozenset(bonds) for bonds in terms.inputs], frozenset(), terms.sizes)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """What draws from Python's own generator draws what the seed says; others find it as it was."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)


_METHODS: Meanings[Callable[[Terms, int, Spend], Iterator[Path]]] = Meanings(
    "method",
    {
        "cotengra_greedy": _greedy, "cotengra_random_greedy": _random_greedy, "cotengra_hyper": _hyper,
        "opt_einsum_dp": _dynamic,
    },
)  # fmt: skip
