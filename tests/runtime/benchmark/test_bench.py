"""recblr-bench: load on a clock of the test's own; statistics, traffic and reports; and the tool as a whole."""

from __future__ import annotations

import json
import math
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from recblr.errors import ConfigError, OverloadedError, RequestError
from recblr.runtime.benchmark.load import Clock, Request, Samples, closed_loop, open_loop, poisson_arrivals
from recblr.runtime.benchmark.plan import Load, Plan, run
from recblr.runtime.benchmark.statistics import Percentiles, measure_closed, measure_open
from recblr.runtime.benchmark.traffic import Lengths, Traffic
from recblr.runtime.cli.bench import main as bench

BIN = Path(sys.executable).parent
TICK = 1 / 64  # adds up exactly


class FakeTime:
    """A clock that stands still but for sleeping and for requests, of which each takes what the test says."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.clock = Clock(now=lambda: self.seconds, sleep=self.pass_time)

    def pass_time(self, seconds: float) -> None:
        self.seconds += seconds

    def requests(self, takes: Callable[[int], float], rows: int = 1, tokens: int = 1) -> Callable[[int], Request]:
        """Requests of which number n takes `takes(n)` seconds."""
        return lambda number: Request(lambda: self.pass_time(takes(number)), rows, tokens)


class FakeEngine:
    """Takes a tick per call, and remembers what it was asked."""

    def __init__(self, time: FakeTime | None = None) -> None:
        self._time = time
        self.histories: list[list[list[int]]] = []
        self.steps: list[tuple[np.ndarray | None, list[list[int]]]] = []

    def _work(self) -> None:
        if self._time is not None:
            self._time.pass_time(TICK)

    def recommend(self, histories: list[list[int]], k: int = 10) -> None:
        self._work()
        self.histories.append(histories)

    def step(self, states: np.ndarray | None, new_items: list[list[int]], k: int = 10) -> tuple[None, np.ndarray]:
        self._work()
        self.steps.append((states, new_items))
        return None, np.array([[len(row), row[-1]] for row in new_items], np.float32)


def test_a_stall_meets_every_request_that_was_due_during_it() -> None:
    """500 requests, one each 10 ms, of 1 ms each, but number 100 takes a second: coordinated omission hides it."""
    time = FakeTime()
    make = time.requests(lambda number: 1.0 if number == 100 else 0.001)
    samples = open_loop(make, np.arange(500) * 0.01, in_flight=1, warm_up=0, seconds=5, clock=time.clock)
    measured = measure_open(samples)
    # The request k after number 100 is due 10k ms after it, and done k ms after the stall's end.
    expected = np.full(500, 1.0)
    expected[100:211] = 1000 - 9 * np.arange(111)
    np.testing.assert_allclose((samples.done - samples.scheduled) * 1e3, expected, atol=1e-6)
    assert measured.latency.p50 == pytest.approx(1)
    assert measured.latency.p90 == pytest.approx(1000 - 9 * 50)  # 50 of 500 are above it
    assert measured.latency.p99 == pytest.approx(1000 - 9 * 5)
    assert measured.latency.max == pytest.approx(1000)
    naive = measured.service
    assert (naive.p90, naive.p99, naive.max) == (pytest.approx(1), pytest.approx(1), pytest.approx(1000))
    assert (measured.late, measured.unanswered, measured.requests) == (110, 0, 500)
    assert measured.max_late_ms == pytest.approx(990)

    alone = FakeTime()  # the caller of a closed loop waits instead, and measures what is naive
    closed = closed_loop(alone.requests(lambda number: 1.0 if number == 100 else 0.001), 1, 0, 1.5, alone.clock)
    assert measure_closed(closed).latency.p99 == pytest.approx(1)
    assert measure_closed(closed).late == 0


def test_a_load_beyond_the_engine_is_reported_as_such() -> None:
    """64 requests a second for one that answers 16: after two seconds 32 are answered and 32 are not."""
    time = FakeTime()
    make = time.requests(lambda _: 4 * TICK, rows=3, tokens=5)
    samples = open_loop(make, np.arange(64) * TICK, in_flight=1, warm_up=0, seconds=1, clock=time.clock)
    measured = measure_open(samples)
    assert (measured.requests, measured.unanswered) == (32, 32)
    assert (measured.requests_per_s, measured.rows_per_s, measured.tokens_per_s) == (16, 48, 80)
    assert samples.unanswered.tolist() == [number * TICK for number in range(32, 64)]
    waited = [2 - number * TICK for number in range(32, 64)]  # they are in the percentiles, too
    answered = [4 * TICK + 3 * TICK * number for number in range(32)]
    assert measured.latency.max == pytest.approx(1e3 * max(waited + answered))
    assert measured.latency.mean == pytest.approx(1e3 * np.mean(waited + answered))
    assert measured.late == 63
    assert measured.max_late_ms == pytest.approx(1.5e3)


def test_the_warm_up_is_left_out() -> None:
    time = FakeTime()
    make = time.requests(lambda number: TICK if number >= 16 else 2 * TICK, rows=2, tokens=6)
    measured = measure_closed(closed_loop(make, 1, warm_up=0.5, seconds=1, clock=time.clock))
    assert (measured.warm_up_requests, measured.requests) == (16, 64)
    assert (measured.requests_per_s, measured.rows_per_s, measured.tokens_per_s) == (64, 128, 384)
    assert measured.latency.max == pytest.approx(1e3 * TICK)

    time = FakeTime()
    samples = open_loop(time.requests(lambda _: TICK), np.arange(96) / 64, 1, 0.5, 1, time.clock)
    assert measure_open(samples).warm_up_requests == 32
    assert measure_open(samples).requests == 64
    assert measure_open(samples).requests_per_s == 64


def test_a_request_longer_than_the_measurement_is_measured() -> None:
    time = FakeTime()
    measured = measure_closed(closed_loop(time.requests(lambda _: 8.0), 1, 1, 2, time.clock))
    assert (measured.warm_up_requests, measured.requests, measured.requests_per_s) == (1, 1, 1 / 8)


def test_failed_requests_are_counted_and_others_end_the_run() -> None:
    time = FakeTime()

    def make(number: int) -> Request:
        def call() -> None:
            time.pass_time(TICK if number % 4 else 100 * TICK)
            if number % 4 == 0:
                raise OverloadedError("full")

        return Request(call, 1, 1)

    measured = measure_closed(closed_loop(make, 1, 0, 4 * 103 * TICK, time.clock))
    assert measured.errors == {"OverloadedError": 4}
    assert measured.requests == 12
    assert measured.latency.max == pytest.approx(1e3 * TICK)
    assert measured.requests_per_s == pytest.approx(12 / (4 * 103 * TICK))

    def broken(_: int) -> Request:
        return Request(lambda: 1 / 0, 1, 1)

    for callers in (1, 3):
        with pytest.raises(ZeroDivisionError):
            closed_loop(broken, callers, 0, 60)
        with pytest.raises(ZeroDivisionError):
            open_loop(broken, np.zeros(5), callers, 0, 60)


@pytest.mark.parametrize("loop", ["closed", "open"])
def test_ctrl_c_keeps_what_was_measured(loop: str) -> None:
    time = FakeTime()

    def make(number: int) -> Request:
        def call() -> None:
            time.pass_time(TICK)
            if number == 10:
                raise KeyboardInterrupt

        return Request(call, 1, 1)

    if loop == "closed":
        samples = closed_loop(make, 1, 0, 100, time.clock)
    else:
        samples = open_loop(make, np.arange(6400) * TICK, 1, 0, 100, time.clock)
    assert samples.interrupted
    assert len(samples.done) == 10
    # The open loop's request 10 was due and is not answered, as is 11, which was due when Ctrl-C came.
    assert samples.unanswered.tolist() == ([] if loop == "closed" else [10 * TICK, 11 * TICK])


@pytest.mark.parametrize("loop", ["closed", "open"])
def test_requests_are_sent_at_once_from_as_many_threads(loop: str) -> None:
    barrier, numbers = threading.Barrier(4), []

    def make(number: int) -> Request:
        numbers.append(number)
        return Request(lambda: barrier.wait(30) if number < 4 else 0, 1, 1)  # none returns before four are under way

    if loop == "closed":
        samples = closed_loop(make, 4, 0, 1e-3)
        assert set(samples.caller.tolist()) == {0, 1, 2, 3}
    else:
        samples = open_loop(make, np.zeros(9), 4, 0, 30)
        assert len(samples.done) == 9
    assert not samples.failed.any()
    assert sorted(numbers) == list(range(len(numbers)))


@pytest.mark.parametrize("n", [1, 2, 9, 10, 11, 1000, 4321])
def test_percentiles_are_the_smallest_values_that_enough_do_not_exceed(n: int) -> None:
    seconds = np.random.default_rng(n).lognormal(size=n)
    found = Percentiles.of(seconds)
    ordered = np.sort(seconds * 1e3)
    for value, percent in ((found.p50, 50), (found.p90, 90), (found.p99, 99), (found.p99_9, 99.9)):
        assert value == ordered[math.ceil(round(percent * n / 100, 9)) - 1]
        assert abs(np.searchsorted(ordered, value) - np.searchsorted(ordered, np.percentile(ordered, percent))) <= 1
    assert found.max == ordered[-1]
    assert found.mean == pytest.approx(seconds.mean() * 1e3)


def test_rates_of_a_closed_loop_are_the_callers_own() -> None:
    """One caller sent 4 requests in 1 s, the other 1 in 4 s."""
    sent = np.array([0, 0.25, 0.5, 0.75, 0])
    done = np.array([0.25, 0.5, 0.75, 1, 4])
    samples = Samples(
        scheduled=sent,
        sent=sent,
        done=done,
        rows=np.full(5, 2),
        tokens=np.full(5, 10),
        failed=np.zeros(5, bool),
        caller=np.array([0, 0, 0, 0, 1]),
        errors={},
        unanswered=np.empty(0),
        started=0,
        ended=4,
        warm_up_requests=0,
        interrupted=False,
    )
    measured = measure_closed(samples)
    assert (measured.requests_per_s, measured.rows_per_s, measured.tokens_per_s) == (4.25, 8.5, 42.5)


def test_arrivals_are_poissons() -> None:
    arrivals = poisson_arrivals(100, 100, np.random.default_rng(0))
    gaps = np.diff(arrivals)
    assert abs(len(arrivals) - 10_000) < 500  # five standard deviations
    assert gaps.min() >= 0
    assert arrivals[0] >= 0
    assert arrivals[-1] < 100
    assert gaps.mean() == pytest.approx(0.01, rel=0.05)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)  # as of an exponential distribution


def traffic(engine: FakeEngine, kind: Any, rows: int, lengths: Lengths, seed: int = 0) -> Traffic:
    return Traffic(engine, list(range(100, 150)), kind, rows, lengths, k=3, step_share=0.75, seed=seed)


def test_cold_traffic_has_the_lengths_asked_for() -> None:
    engine = FakeEngine()
    cold = traffic(engine, "cold", 3, Lengths("some", np.array([2, 5])))
    requests = [cold.request(number) for number in range(40)]
    for request in requests:
        request.call()
    assert engine.steps == []
    lengths = [len(history) for histories in engine.histories for history in histories]
    assert set(lengths) == {2, 5}
    assert [request.tokens for request in requests] == [sum(map(len, histories)) for histories in engine.histories]
    assert {request.rows for request in requests} == {3} == {len(histories) for histories in engine.histories}
    assert {item for histories in engine.histories for row in histories for item in row} <= set(range(100, 150))

    again = FakeEngine()
    traffic(again, "cold", 3, Lengths("some", np.array([2, 5]))).request(0).call()
    assert again.histories[0] == engine.histories[0]
    traffic(again, "cold", 3, Lengths("some", np.array([2, 5])), seed=1).request(0).call()
    assert again.histories[1] != engine.histories[0]


def test_steps_feed_one_item_to_the_states_of_such_histories() -> None:
    engine = FakeEngine()
    step = traffic(engine, "step", 4, Lengths.fixed(7))
    (none, histories), *_ = engine.steps
    assert none is None
    assert {len(history) for history in histories} == {7}
    request = step.request(0)
    request.call()
    states, new_items = engine.steps[-1]
    assert engine.histories == []
    assert (request.rows, request.tokens) == (4, 4)
    assert [len(row) for row in new_items] == [1, 1, 1, 1]
    assert states is not None
    known = {(7.0, float(history[-1])) for history in histories}
    assert {tuple(state) for state in states.tolist()} <= known


def test_mixed_traffic_is_both() -> None:
    mixed = traffic(FakeEngine(), "mixed", 1, Lengths.fixed(5))
    steps = sum(mixed.request(number).tokens == 1 for number in range(4000))
    assert 2800 < steps < 3200  # three of four, within seven standard deviations


def test_a_plan_is_measured_whole() -> None:
    time = FakeTime()
    plan = Plan(
        traffic=["cold", "step"],
        rows=[1, 2],
        lengths=[Lengths.fixed(3)],
        callers=[1],
        rates=[16],
        loads=[0.5],
        in_flight=1,
        seconds=10,
        warm_up=1,
    )
    announced: list[str] = []
    results = list(run(FakeEngine(time), [1, 2, 3], plan, announced.append, time.clock))
    assert len(results) == plan.n_measurements == 12
    assert len(announced) == 12
    assert announced[:3] == ["cold, 1 row of 3, 1 caller", "cold, 1 row of 3, 32/s (50%)", "cold, 1 row of 3, 16/s"]
    closed, fraction, rate = results[:3]
    assert closed.measured.requests_per_s == 64
    assert (fraction.load.rate, fraction.load.fraction, rate.load.rate) == (32, 0.5, 16)
    assert fraction.measured.requests_per_s == pytest.approx(32, rel=0.3)
    assert closed.measured.tokens_per_s == 3 * 64
    assert results[-3].measured.tokens_per_s == 2 * 64
    # A rate too low for the time is measured for as long as 20 requests need.
    slow = Plan(traffic=["cold"], rows=[1], lengths=[Lengths.fixed(3)], callers=[], rates=[0.5], in_flight=1)
    (result,) = run(FakeEngine(time), [1], slow, clock=time.clock)
    assert 5 <= result.measured.requests <= 45
    assert result.measured.seconds > 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": [1, 0]}, "rows 0"),
        ({"callers": [0]}, "callers 0"),
        ({"rates": [0]}, "a rate of 0"),
        ({"loads": [-1]}, "a load of -1"),
        ({"rates": [float("nan")]}, "a rate of nan"),
        ({"seconds": 0}, "0 s measured"),
        ({"warm_up": -1}, "warm-up of at least 0"),
        ({"step_share": 2}, "a step share of 2"),
        ({"loads": [0.5], "callers": []}, "name its callers"),
        ({"callers": []}, "nothing to measure"),
        ({"rates": [1e9]}, "5,000,000 the most"),
    ],
)
def test_plans_that_cannot_be_measured_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Plan(**{"traffic": ["cold"], "rows": [1], "lengths": [Lengths.fixed(5)], **changes})


def test_loads_are_named() -> None:
    names = [str(load) for load in (Load(callers=1), Load(callers=2), Load(rate=1234.5, fraction=0.3), Load(rate=0.25))]
    assert names == ["1 caller", "2 callers", "1,234/s (30%)", "0.25/s"]


QUICK = ("--duration", "0.05", "--warm-up", "0.01", "--threads", "1", "-k", "3")


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(bench, [str(argument) for argument in arguments])


def refusal(result: Result) -> str:
    """The last line of an expected failure."""
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    line = result.stderr.splitlines()[-1]
    assert line.startswith("Error: ")
    return line


def test_a_table_json_and_a_plot(toy: Any, tmp_path: Path) -> None:
    files = ("--json", tmp_path / "bench.json", "--plot", tmp_path / "bench.png")
    options = ("--rows", "1,3", "--lengths", "4,9", "--callers", "1,2", "--loads", "0.5", "--rates", "200")
    result = invoke("--engine", toy.path, *options, *QUICK, *files)
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "bench.json").read_text())
    assert (content["format"], content["format_version"], content["interrupted"]) == ("recblr-bench", 1, False)
    assert content["machine"]["logical_cores"] >= 1
    assert content["machine"]["versions"]["numpy"] == np.__version__
    assert content["engine"]["model"] == "sha256:toy"
    assert content["engine"]["description"].startswith("ONNX Runtime")
    assert content["settings"]["k"] == 3
    results = content["results"]
    assert len(results) == 3 * 2 * 2 * 4
    assert {(r["traffic"], r["rows"], r["mean_length"]) for r in results} == {
        (kind, rows, length) for kind in ("cold", "step", "mixed") for rows in (1, 3) for length in (4, 9)
    }
    for r in results:
        assert r.keys() == {
            *("traffic", "rows", "lengths", "mean_length", "load", "latency", "service", "requests", "requests_per_s"),
            *("rows_per_s", "tokens_per_s", "errors", "late", "max_late_ms", "unanswered", "seconds"),
            *("warm_up_requests", "interrupted"),
        }
        latency = r["latency"]
        assert latency.keys() == {"mean", "p50", "p90", "p99", "p99_9", "max"}
        assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["p99_9"] <= latency["max"]
        assert r["rows_per_s"] == pytest.approx(r["rows"] * r["requests_per_s"])
        assert r["errors"] == {}
    closed = [r["load"] for r in results if r["load"]["loop"] == "closed"]
    assert closed[:2] == [{"loop": "closed", "callers": 1}, {"loop": "closed", "callers": 2}]
    fractions = [r["load"]["fraction_of_saturation"] for r in results if r["load"]["loop"] == "open"]
    assert fractions[:2] == [0.5, None]
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    for word in ("traffic", "p99.9 ms", "tokens/s", "unanswered", "mixed", "2 callers", "200/s"):
        assert word in result.stdout
    assert "48 measurements" in result.stderr


def test_requests_go_through_the_batcher_where_asked(toy: Any, tmp_path: Path) -> None:
    options = ("--rows", "1", "--lengths", "4", "--traffic", "step", "--callers", "3", "--loads", "", "--batching")
    batching = ("--max-batch-rows", "2", "--max-delay-ms", "0.5", "--workers", "2", "--json", tmp_path / "bench.json")
    result = invoke("--engine", toy.path, *options, *batching, *QUICK)
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "bench.json").read_text())
    assert content["engine"]["description"].endswith("batching")
    (measured,) = content["results"]
    assert measured["requests"] > 0
    assert measured["errors"] == {}


def test_the_backend_asked_for_computes(toy: Any, tmp_path: Path) -> None:
    options = ("--rows", "1", "--lengths", "4", "--traffic", "step", "--callers", "1", "--loads", "")
    result = invoke("--engine", toy.path, *options, *QUICK, "--backend", "onnxruntime")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("ONNX Runtime")
    refused = refusal(invoke("--engine", toy.path, *options, *QUICK, "--backend", "native"))
    assert "backend is 'native', but" in refused


def test_lengths_from_a_data_file(text_toy: Any, tmp_path: Path) -> None:
    """Items of the data need not be the model's."""
    lines = [f"{user},{item},{item}" for user, length in enumerate((6, 6, 9)) for item in range(length)]
    data = tmp_path / "data.csv"
    data.write_text("who,item_id,timestamp\n" + "\n".join(lines))
    options = ("--callers", "1", "--loads", "", "--traffic", "cold", "--rows", "4", "--user-column", "who")
    result = invoke("--engine", text_toy.path, "--data", data, *options, *QUICK, "--json", tmp_path / "out.json")
    assert "--min-item-interactions" in refusal(result)  # no item occurs five times

    lines = [f"{user},{item % 6},{item}" for user in range(6) for item in range(6 + user)]
    data.write_text("who,item_id,timestamp\n" + "\n".join(lines))
    result = invoke("--engine", text_toy.path, "--data", data, *options, *QUICK, "--json", tmp_path / "out.json")
    assert result.exit_code == 0, result.output
    (measured,) = json.loads((tmp_path / "out.json").read_text())["results"]
    assert measured["lengths"] == "data.csv"
    assert measured["mean_length"] == 8.5
    tokens_per_row = measured["tokens_per_s"] / measured["rows_per_s"]
    assert 6 <= tokens_per_row <= 11


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rates", "0"], "--rates '0': give numbers above 0"),
        (["--rates", "inf"], "--rates 'inf'"),
        (["--loads", "0.5,x"], "--loads '0.5,x'"),
        (["--rows", "0"], "--rows '0': give whole numbers from 1"),
        (["--lengths", "1.5"], "--lengths '1.5'"),
        (["--callers", "-1"], "--callers '-1'"),
        (["--traffic", "hot"], "--traffic 'hot': give cold, step or mixed"),
        (["--callers", ""], "name its callers"),
        (["--callers", "", "--loads", ""], "nothing to measure"),
        (["--duration", "0"], "give a time above 0"),
        (["--k", "1000"], "k is 1000, but the catalogue has"),
        (["--k", "0"], "k is 0"),
        (["--data", "none.csv"], "none.csv does not exist"),
        (["--json", "none/x.json"], "cannot write none/x.json"),
        (["--plot", "none/x.png"], "cannot write none/x.png"),
        (["--engine", "none"], "none does not exist"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(toy: Any, options: list[str], message: str) -> None:
    assert message in refusal(invoke("--engine", toy.path, *options))


@pytest.mark.parametrize("name", ["model.onnx", "items.json", "manifest.json"])
@pytest.mark.parametrize("option", ["--json", "--plot"])
def test_the_bundle_is_not_written_over(toy: Any, tmp_path: Path, option: str, name: str) -> None:
    copied = shutil.copytree(toy.path, tmp_path / "bundle")
    before = (copied / name).read_bytes()
    message = refusal(invoke("--engine", copied / "model.onnx", option, copied / name, *QUICK))
    assert f"writing {copied / name} would destroy the input" in message
    assert (copied / name).read_bytes() == before


def test_the_data_are_not_written_over(toy: Any, tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_text("user_id,item_id,timestamp\n1,10,1\n1,20,2\n")
    before = data.read_bytes()
    message = refusal(invoke("--engine", toy.path, "--data", data, "--json", data, *QUICK))
    assert f"writing {data} would destroy the input {data}" in message
    assert data.read_bytes() == before


def test_k_is_checked_before_anything_is_measured(toy: Any) -> None:
    with pytest.raises(RequestError, match="k is 1000"):
        next(iter(run(_engine(toy), [10], Plan(traffic=["step"], rows=[1], lengths=[Lengths.fixed(1)], k=1000))))


def _engine(toy: Any) -> Any:
    from recblr.runtime import load

    return load(toy.path, threads=1)


def test_the_base_installation_suffices(toy: Any, tmp_path: Path) -> None:
    code = """
import sys
for name in ("torch", "onnx", "rich", "matplotlib", "pyarrow"):
    sys.modules[name] = None  # importing it raises ImportError
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if sys.modules.get(name, 0) is None else find(name)
from recblr.runtime.cli.bench import main
main(sys.argv[1:])
"""
    command = [sys.executable, "-c", code, "--engine", str(toy.path), "--callers", "1", "--loads", "", *QUICK]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    header, *rows = done.stdout.splitlines()
    assert header.split()[:4] == ["traffic", "rows", "length", "load"]
    assert [row.split()[:3] for row in rows] == [
        [kind, rows, length] for kind in ("cold", "step", "mixed") for rows in ("1", "32") for length in ("20", "200")
    ]
    for option, package in (("--plot", "matplotlib"), ("--data", "pyarrow")):
        target = str(toy.path / "manifest.json") if option == "--data" else str(tmp_path / "x.png")
        failed = subprocess.run([*command, option, target], capture_output=True, text=True, check=False, timeout=120)
        assert failed.returncode == 1
        assert f"needs {package}: pip install 'recblr[bench]'" in failed.stderr


def test_ctrl_c_prints_what_was_measured_so_far(toy: Any, tmp_path: Path) -> None:
    rows = ",".join(map(str, range(1, 101)))
    options = ("--rows", rows, "--lengths", "3", "--traffic", "cold", "--callers", "1", "--loads", "", "-k", "3")
    process = subprocess.Popen(
        [BIN / "recblr-bench", "--engine", toy.path, *options, "--duration", "0.3", "--json", tmp_path / "out.json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while "3 rows of 3" not in (line := process.stderr.readline()):
        assert line, "it ended early"
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["interrupted"]
    assert 2 <= len(content["results"]) < 100
    assert f"Interrupted: {len(content['results'])} of 100 measurements." in errors
    assert "p99.9 ms" in output
