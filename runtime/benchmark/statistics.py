"""Statistics of measured requests: percentiles of exact values, not of a histogram, and rates."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from recblr.runtime.benchmark.load import Samples, TimesArray

LATE_AFTER = 1e-3  # seconds; less is how exactly a thread is woken
_PERMILLES = (500, 900, 990, 999, 1000)


@dataclass(frozen=True)
class Percentiles:
    """Percentiles of times, in milliseconds; all None where there were no times.

    A percentile is the smallest of the times that at least that share of them does not exceed, so with fewer
    than 1,000 times p99_9 is the largest.
    """

    mean: float | None
    p50: float | None
    p90: float | None
    p99: float | None
    p99_9: float | None
    max: float | None

    @classmethod
    def of(cls, seconds: TimesArray) -> Percentiles:
        """The percentiles of times [n] in seconds."""
        if not len(seconds):
            return cls(None, None, None, None, None, None)
        ms = np.sort(seconds * 1e3)
        ranks = [-(-len(ms) * permille // 1000) for permille in _PERMILLES]  # rounded up, exactly
        return cls(float(ms.mean()), *(float(ms[rank - 1]) for rank in ranks))


@dataclass(frozen=True)
class Measurement:
    """The measurement of one load.

    Attributes:
        latency: from when a request should have been sent until its answer. In an open loop that includes waiting
            for earlier ones, and unanswered requests count with the time until the end, which is less than they needed.
        service: from when it was sent until its answer.
        requests: answered.
        errors: how many requests failed, by class; they are in no percentile.
        late: sent more than a millisecond after their time.
        max_late_ms: the latest one's delay, unanswered ones included.
        unanswered: scheduled but not answered by the end; more than a few mean that the load is beyond the engine.
        seconds: measured, until the last answer.
        warm_up_requests: sent before, and not measured.
        interrupted: by Ctrl-C.
    """

    latency: Percentiles
    service: Percentiles
    requests: int
    requests_per_s: float
    rows_per_s: float
    tokens_per_s: float
    errors: dict[str, int]
    late: int
    max_late_ms: float
    unanswered: int
    seconds: float
    warm_up_requests: int
    interrupted: bool

    def to_dict(self) -> dict[str, Any]:
        """As a dict that JSON can hold."""
        return asdict(self)


def measure_closed(samples: Samples) -> Measurement:
    """The measurement of a closed loop.

    Its rates are the callers' own, added, so that one who ends late does not lower the others'.
    """
    answered = ~samples.failed
    rates = np.zeros(3)
    for caller in np.unique(samples.caller):
        chosen = samples.caller == caller
        elapsed = samples.done[chosen].max() - samples.sent[chosen].min()
        rates += _totals(samples, chosen & answered) / max(elapsed, 1e-9)
    return _measurement(samples, rates)


def measure_open(samples: Samples) -> Measurement:
    """The measurement of an open loop: its rates are what was answered over the time until the last answer."""
    return _measurement(samples, _totals(samples, ~samples.failed) / max(samples.ended - samples.started, 1e-9))


def _totals(samples: Samples, chosen: np.ndarray) -> np.ndarray:
    """The sums of requests, rows and tokens, [3]."""
    return np.array([chosen.sum(), samples.rows[chosen].sum(), samples.tokens[chosen].sum()], float)


def _measurement(samples: Samples, rates: np.ndarray) -> Measurement:
    answered = ~samples.failed
    waited = samples.ended - samples.unanswered
    lateness = np.concatenate([samples.sent - samples.scheduled, waited])
    latency = np.concatenate([(samples.done - samples.scheduled)[answered], waited])
    requests_per_s, rows_per_s, tokens_per_s = rates.tolist()
    return Measurement(
        latency=Percentiles.of(latency),
        service=Percentiles.of((samples.done - samples.sent)[answered]),
        requests=int(answered.sum()),
        requests_per_s=requests_per_s,
        rows_per_s=rows_per_s,
        tokens_per_s=tokens_per_s,
        errors=samples.errors,
        late=int((lateness > LATE_AFTER).sum()),
        max_late_ms=float(lateness.max(initial=0.0)) * 1e3,
        unanswered=len(samples.unanswered),
        seconds=samples.ended - samples.started,
        warm_up_requests=samples.warm_up_requests,
        interrupted=samples.interrupted,
    )
