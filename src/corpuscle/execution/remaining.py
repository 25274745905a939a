"""Remaining: how long what is left of a run takes, by what its parts took so far."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from corpuscle.execution.artifact import Address

# Of so many parts that are left, the longest may decide.
FEW = 100
# A part of which less is done says nothing of the rest.
ENOUGH = 0.05


class Part(NamedTuple):
    """Something that is to be made.

    Attributes
    ----------
    address
        Which artifact.
    like
        What takes as long, by weight: from what counts most, such as the kind, to what counts least.
    weight
        How long it takes, next to others that are like it: its steps, say.
    """

    address: Address
    like: tuple[str, ...]
    weight: float = 1.0


@dataclass
class _Group:
    """Parts that are alike: their weight, how much of it is done, or was earlier, and the seconds that this took."""

    weight: float = 0.0
    done: float = 0.0
    earlier: float = 0.0
    seconds: float = 0.0
    n: int = 0

    @property
    def is_known(self) -> bool:
        """Whether enough was made to say how long the rest takes: first of all, libraries are loaded."""
        return self.done + self.earlier > ENOUGH * self.weight / max(1, self.n)


@dataclass
class _Making:
    """A part in the making: its share when it was last heard of, and when that was; both counted already."""

    share: float = 0.0
    heard: float = 0.0


@dataclass
class Remaining:
    """What is left of a run.

    Of parts that nothing alike was made of yet, what is least unlike them counts. As long as there is a kind of which
    nothing was made, nothing is known: tasks may take longer than all trainings.

    Parameters
    ----------
    parts
        What is to be made.
    workers
        How many are made at once; None: as many as there are at a time.
    clock
        Gives seconds.
    """

    parts: Iterable[Part]
    workers: int | None
    clock: Callable[[], float] = time.monotonic
    _known: dict[Address, Part] = field(init=False)
    _groups: dict[tuple[str, ...], _Group] = field(init=False, default_factory=dict)
    _making: dict[Address, _Making] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._known = {part.address: part for part in self.parts}
        for part in self._known.values():
            group = self._groups.setdefault(part.like, _Group())
            group.weight, group.n = group.weight + part.weight, group.n + 1

    def learn(self, like: tuple[str, ...], weight: float, seconds: float) -> None:
        """Take note of how long something took that was made before; it is no part of what is to be made."""
        group = self._groups.setdefault(like, _Group())
        group.earlier += weight
        group.seconds += seconds

    def update(self, address: Address, share: float) -> None:
        """Take note of which share of a part is done; 0 where it begins, also where it begins again."""
        if (part := self._known.get(address)) is None:
            return
        now, group = self.clock(), self._groups[part.like]
        making = self._making.setdefault(address, _Making(0.0, now))
        group.done += (share - making.share) * part.weight
        group.seconds += now - making.heard if share else 0.0
        making.share, making.heard = share, now
        if share == 1:
            del self._making[address], self._known[address]

    def seconds(self) -> float | None:
        """Return how many seconds are left; None where nothing is known yet."""
        alike: dict[tuple[str, ...], _Group] = {}
        for like, group in self._groups.items():
            for depth in range(1, len(like) + 1):
                all_alike = alike.setdefault(like[:depth], _Group())
                if group.is_known:
                    all_alike.done += group.done + group.earlier
                    all_alike.seconds += group.seconds
        rates: dict[tuple[str, ...], float] = {}
        for like in self._groups:
            known = (alike[like[:depth]] for depth in range(len(like), 0, -1))
            rate = next((one.seconds / one.done for one in known if one.done > 0), None)
            if rate is None:
                return None
            rates[like] = rate
        total = sum(
            rate * max(0.0, self._groups[like].weight - self._groups[like].done) for like, rate in rates.items()
        )
        # In the end, all wait for the one that takes longest.
        last = [part for part in self._known.values() if len(self._known) <= FEW]
        done = {address: making.share for address, making in self._making.items()}
        longest = max(
            (rates.get(part.like, 0.0) * part.weight * (1 - done.get(part.address, 0.0)) for part in last), default=0.0
        )
        return max(longest, total / max(1, min(self.workers or len(self._making), len(self._known))))
