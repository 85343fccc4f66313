"""Which region holds what: the pool in the fastest RAM that takes it, stack and variables beside it or elsewhere,
constants behind the code or, where they do not fit there, in another flash."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vmcu.errors import fail
from vmcu.targets.target import Region, Target


@dataclass(frozen=True, slots=True)
class RamPlace:
    """Where RAM is taken.

    Attributes:
        pool: the region (or joined neighbours) of the pool.
        rest: that of stack and variables; the pool's own where both fit it.
        second: of what a split pool has beyond `Target.split_bytes`; None: it is in one piece.
    """

    pool: Region
    rest: Region
    second: Region | None = None

    @property
    def pool_name(self) -> str:
        """As `--pool-region` takes it."""
        return f"{self.pool.name},{self.second.name}" if self.second else self.pool.name


@dataclass(frozen=True, slots=True)
class FlashPlace:
    """Where flash is taken.

    Attributes:
        code: the region of vectors and code.
        weights: that of the model's constants.
    """

    code: Region
    weights: Region


def with_regions(target: Target, pool: str | None, weights: str | None) -> Target:
    """The target with the user's choice of regions; capital letters do not matter.

    Raises:
        VmcuError: (INPUT) it has no region of that name.
    """
    chosen = [
        None if name is None else _named(target, option, name, regions).name
        for option, name, regions in (
            ("--pool-region", None if pool and "," in pool else pool, target.regions()),
            ("--weights-region", weights, target.flash),
        )
    ]
    if pool and "," in pool:
        chosen[0] = _pair(target, pool)
    return replace(target, pool_region=chosen[0], weights_region=chosen[1])


def place_ram(target: Target, pool_bytes: int, rest_bytes: int) -> RamPlace | None:
    """Where pool and rest (stack and variables) go; None where they do not fit.

    Without the user's choice the pool goes to the first of `Target.spans` that takes it: the fastest region, else the
    smallest of joined neighbours. External RAM is taken only by name, since the user's firmware has to set it up.
    """
    pair = target.pool_pair()
    if pair and pool_bytes > target.split_bytes:
        return _place_split(target, *pair, pool_bytes - target.split_bytes, rest_bytes)
    for region in pair[:1] if pair else target.pool_regions():
        rest = _rest(target, region, pool_bytes, rest_bytes)
        if pool_bytes <= region.size_bytes and rest is not None:
            return RamPlace(region, rest)
    return None


def ram_capacity(target: Target, rest_bytes: int) -> int:
    """The most that a pool and `rest_bytes` of stack and variables can take together."""
    if pair := target.pool_pair():
        return _pair_capacity(target, *pair, rest_bytes)
    best = 0
    for region in target.pool_regions():
        if _elsewhere(target, region, rest_bytes) is not None:
            best = max(best, region.size_bytes + rest_bytes)
        elif region.kind == "internal":
            best = max(best, region.size_bytes)
    return best


def place_flash(target: Target, code_bytes: int, constant_bytes: int) -> FlashPlace | None:
    """Where code and constants go; None where they do not fit."""
    code, chosen = target.flash[0], target.weights_region
    for region in target.flash:
        if chosen is not None and region.name != chosen:
            continue
        need = {region.name: constant_bytes}
        need[code.name] = need.get(code.name, 0) + code_bytes
        if all(need.get(r.name, 0) <= r.size_bytes for r in (code, region)):
            return FlashPlace(code, region)
    return None


def flash_capacity(target: Target, code_bytes: int, constant_bytes: int) -> int:
    """How much of so much code and constants fits; equal to their sum, or more, where all does."""
    code, best = target.flash[0], 0
    for region in target.flash:
        if target.weights_region is not None and region.name != target.weights_region:
            continue
        if region is code:
            room = code.size_bytes
        elif constant_bytes <= region.size_bytes:
            room = code.size_bytes + constant_bytes
        else:
            room = min(code_bytes, code.size_bytes) + region.size_bytes
        best = max(best, room)
    return best


def _rest(target: Target, pool: Region, pool_bytes: int, rest_bytes: int) -> Region | None:
    together = pool.kind == "internal" and pool_bytes + rest_bytes <= pool.size_bytes
    return pool if together else _elsewhere(target, pool, rest_bytes)


def _place_split(
    target: Target, first: Region, second: Region, second_bytes: int, rest_bytes: int
) -> RamPlace | None:
    """The first region holds nothing but its part of the pool."""
    if second_bytes > second.size_bytes:
        return None
    if second.kind == "internal" and second_bytes + rest_bytes <= second.size_bytes:
        return RamPlace(first, second, second)
    rest = _elsewhere(target, first, rest_bytes, second)
    return RamPlace(first, rest, second) if rest else None


def _pair_capacity(target: Target, first: Region, second: Region, rest_bytes: int) -> int:
    """`ram_capacity` of a pool that may be split."""
    both = target.split_bytes + second.size_bytes
    if _elsewhere(target, first, rest_bytes, second) is not None:
        return both + rest_bytes
    if second.kind == "internal" and rest_bytes <= second.size_bytes:
        return both
    return first.size_bytes if first.kind == "internal" else 0


def _elsewhere(target: Target, pool: Region, rest_bytes: int, second: Region | None = None) -> Region | None:
    """Another internal region that takes the rest, apart from all that hold the pool."""
    taken = [pool] if second is None else [pool, second]
    for region in target.spans():
        apart = all(region.end <= one.origin or one.end <= region.origin for one in taken)
        if apart and rest_bytes <= region.size_bytes:
            return region
    return None


def _pair(target: Target, names: str) -> str:
    """Two regions for one pool, as `Target.pool_region` keeps them."""
    parts = [n.strip() for n in names.split(",")]
    if len(parts) != 2:
        raise fail(
            "names more than two regions", f"--pool-region {names[:60]}", "a pool is split once: give two"
        )
    first, second = (_named(target, "--pool-region", name, target.regions()) for name in parts)
    if first.origin < second.end and second.origin < first.end:
        raise fail(
            "names memory twice", f"--pool-region {names[:60]}", "give two regions that do not overlap"
        )
    return f"{first.name},{second.name}"


def _named(target: Target, option: str, name: str, regions: tuple[Region, ...]) -> Region:
    for region in regions:
        if region.name.lower() == name.lower():
            return region
    known = ", ".join(f"{r.name} ({r.size_bytes:,} bytes)" for r in regions)
    raise fail(f"target '{target.name}' has no such region", f"{option} {name[:60]}", f"it has {known}")
