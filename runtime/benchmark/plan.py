"""Plans: which traffic and loads to measure, and measuring them one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recblr.array_types import ItemId
from recblr.errors import ConfigError
from recblr.runtime.benchmark.load import Clock, closed_loop, open_loop, poisson_arrivals
from recblr.runtime.benchmark.statistics import Measurement, measure_closed, measure_open
from recblr.runtime.benchmark.traffic import POOL, USERS, EngineLike, Kind, Lengths, Traffic

_FEWEST_REQUESTS = 20  # expected in an open loop; a low rate is measured for longer
_MOST_REQUESTS = 5_000_000
_MOST_IDS = 100_000_000  # of all histories of a traffic, which are made beforehand
_LONGEST_SECONDS = 86_400.0
_MOST_LOAD = 100


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every traffic x rows x lengths, each under every load.

    Attributes:
        traffic: kinds.
        rows: users per request.
        lengths: of histories.
        callers: of closed loops.
        rates: of open loops, requests per second.
        loads: of open loops, as fractions of the most requests per second that a closed loop came to.
        in_flight: the most requests of an open loop under way at once.
        seconds: of each measurement; of an open loop with a low rate as long as 20 requests need.
        warm_up: seconds before each.
        k: results per user.
        step_share: of mixed traffic.
        seed: of all that is drawn.

    Raises:
        ConfigError: a value out of range, or nothing to measure.
    """

    traffic: Sequence[Kind]
    rows: Sequence[int]
    lengths: Sequence[Lengths]
    callers: Sequence[int] = (1,)
    rates: Sequence[float] = ()
    loads: Sequence[float] = ()
    in_flight: int = 32
    seconds: float = 2.0
    warm_up: float = 0.5
    k: int = 10
    step_share: float = 0.9
    seed: int = 0

    def __post_init__(self) -> None:
        for name, values in (("rows", self.rows), ("callers", self.callers)):
            if (least := min(values, default=1)) < 1:
                raise ConfigError(f"{name} {least}: give whole numbers of at least 1")
        for name, rates in (("rate", self.rates), ("load", self.loads)):
            for value in rates:
                if not 0 < value < float("inf"):
                    raise ConfigError(f"a {name} of {value:g}: give numbers above 0")
        if max(self.loads, default=0) > _MOST_LOAD:
            raise ConfigError(f"a load of {max(self.loads):g}: give fractions of a closed loop's, at most {_MOST_LOAD}")
        if not 0 < self.seconds <= _LONGEST_SECONDS or not 0 <= self.warm_up <= _LONGEST_SECONDS:
            raise ConfigError(
                f"{self.seconds:g} s measured after {self.warm_up:g}: give a time above 0 and a warm-up of at least 0, "
                "both of at most a day"
            )
        if not 0 <= self.step_share <= 1:
            raise ConfigError(f"a step share of {self.step_share:g}: give a number from 0 to 1")
        if self.loads and not self.callers:
            raise ConfigError("loads are fractions of what a closed loop comes to: name its callers as well")
        if not (self.traffic and self.rows and self.lengths and (self.callers or self.rates)):
            raise ConfigError("nothing to measure: give at least one traffic, rows, length, and callers or a rate")
        for rate in self.rates:
            _check_rate(rate, self)
        most_rows, longest = max(self.rows), max(int(lengths.values.max()) for lengths in self.lengths)
        if (most_rows * POOL + USERS) * longest > _MOST_IDS:
            raise ConfigError(
                f"{most_rows:,} rows of {longest:,} items are too much for {POOL} different requests, which are made "
                f"beforehand with at most {_MOST_IDS:,} items: give fewer rows or shorter histories"
            )

    @property
    def n_measurements(self) -> int:
        """How many results a whole run gives."""
        cells = len(self.traffic) * len(self.rows) * len(self.lengths)
        return cells * (len(self.callers) + len(self.rates) + len(self.loads))


@dataclass(frozen=True)
class Load:
    """Closed with `callers`, or open with `rate` requests per second.

    Attributes:
        fraction: of the closed loop's most that `rate` is, where it was asked for so.
    """

    callers: int | None = None
    rate: float | None = None
    fraction: float | None = None

    def __str__(self) -> str:
        if self.rate is None:
            return f"{self.callers} caller{'s' if self.callers != 1 else ''}"
        share = "" if self.fraction is None else f" ({self.fraction:.0%})"
        return f"{self.rate:,.4g}/s{share}"

    def to_dict(self) -> dict[str, Any]:
        """As a dict that JSON can hold."""
        if self.rate is None:
            return {"loop": "closed", "callers": self.callers}
        return {"loop": "open", "requests_per_s": self.rate, "fraction_of_saturation": self.fraction}


@dataclass(frozen=True)
class Result:
    """One measurement, with the traffic and the load that it is of."""

    traffic: Kind
    rows: int
    lengths: Lengths
    load: Load
    measured: Measurement

    def to_dict(self) -> dict[str, Any]:
        """As a dict that JSON can hold."""
        return {
            "traffic": self.traffic,
            "rows": self.rows,
            "lengths": self.lengths.name,
            "mean_length": self.lengths.mean,
            "load": self.load.to_dict(),
            **self.measured.to_dict(),
        }


def run(
    engine: EngineLike,
    item_ids: Sequence[ItemId],
    plan: Plan,
    announce: Callable[[str], None] = lambda _: None,
    clock: Clock | None = None,
) -> Iterator[Result]:
    """Measure a plan; the last result may be of a measurement that Ctrl-C ended.

    Args:
        engine: is called from several threads.
        item_ids: [V] of the engine's model.
        announce: told each measurement before it starts.
        clock: of all times.

    Raises:
        RequestError: `k` out of range.
        ConfigError: a fraction of a closed loop's throughput is too high a rate.
        Exception: what the engine raised, but for `RecblrError` in a measurement, which is counted.
    """
    for kind in plan.traffic:
        for rows in plan.rows:
            for lengths in plan.lengths:
                traffic = Traffic(
                    engine, item_ids, kind, rows, lengths, k=plan.k, step_share=plan.step_share, seed=plan.seed
                )
                for load, measured in _loads(
                    traffic, plan, announce, f"{kind}, {_rows(rows)} of {lengths.name}", clock
                ):
                    yield Result(kind, rows, lengths, load, measured)
                    if measured.interrupted:
                        return


def _loads(
    traffic: Traffic, plan: Plan, announce: Callable[[str], None], name: str, clock: Clock | None
) -> Iterator[tuple[Load, Measurement]]:
    saturation = 0.0
    for callers in plan.callers:
        load = Load(callers=callers)
        announce(f"{name}, {load}")
        measured = measure_closed(closed_loop(traffic.request, callers, plan.warm_up, plan.seconds, clock))
        saturation = max(saturation, measured.requests_per_s)
        yield load, measured
    fractions = [Load(rate=fraction * saturation, fraction=fraction) for fraction in plan.loads if saturation > 0]
    for load in [*fractions, *(Load(rate=rate) for rate in plan.rates)]:
        announce(f"{name}, {load}")
        yield load, _open(traffic, load.rate or 0.0, plan, clock)


def _open(traffic: Traffic, rate: float, plan: Plan, clock: Clock | None) -> Measurement:
    _check_rate(rate, plan)
    seconds = max(plan.seconds, _FEWEST_REQUESTS / rate)
    arrivals = poisson_arrivals(rate, plan.warm_up + seconds, np.random.default_rng(plan.seed))
    return measure_open(open_loop(traffic.request, arrivals, plan.in_flight, plan.warm_up, seconds, clock))


def _check_rate(rate: float, plan: Plan) -> None:
    if _FEWEST_REQUESTS / rate > _LONGEST_SECONDS:
        raise ConfigError(
            f"{rate:g} requests/s: {_FEWEST_REQUESTS}, which an open loop needs, take more than a day; raise the rate"
        )
    count = rate * (plan.warm_up + plan.seconds)
    if count > _MOST_REQUESTS:
        raise ConfigError(
            f"{rate:,.0f} requests/s for {plan.warm_up + plan.seconds:g} s are {count:,.0f} requests, and "
            f"{_MOST_REQUESTS:,} the most: lower the rate or the time"
        )


def _rows(rows: int) -> str:
    return f"{rows} row{'s' if rows != 1 else ''}"
