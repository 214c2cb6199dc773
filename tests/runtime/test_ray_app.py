"""Two replicas in Ray Serve, with a store that they share."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest

from recblr.errors import ConfigError
from recblr.runtime import Engine, Recommender, load

pytest.importorskip("ray", reason="ray[serve], of the extra ray, is not installed")

pytestmark = pytest.mark.slow

Application: TypeAlias = tuple[httpx.Client, Engine, Path]


@pytest.fixture(scope="module")
def application(golden_bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """A client of two replicas, an engine of the same bundle, and the folder of their store."""
    import ray
    from ray import serve

    from recblr.runtime import ray_app

    store = tmp_path_factory.mktemp("ray") / "store"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Ray's workers find recblr where this process does.
    # Ray gives its proxy five seconds to start, which are few while other tests keep the CPUs busy.
    for patience in ("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S"):
        os.environ.setdefault(patience, "60")
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "RAY_USAGE_STATS_ENABLED": "0"}
    ray.init(
        num_cpus=3,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100 * 1024**2,
        runtime_env={"env_vars": environment},
    )
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        bundle = golden_bundles / "integer"
        serve.run(ray_app.app({"engine": str(bundle), "store": str(store), "replicas": "2"}))
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            yield client, load(bundle, backend="native"), store
    finally:
        serve.shutdown()
        ray.shutdown()


def test_two_replicas_answer_as_the_engine_does(application: Application) -> None:
    from ray import serve

    client, engine, _ = application
    (found,) = serve.status().applications.values()
    (deployment,) = found.deployments.values()
    assert deployment.replica_states == {"RUNNING": 2}
    histories = [[1, 2, 3], [], [10**9, 99]]
    expected = [
        {"items": r.items, "scores": r.scores.tolist(), "popular": r.popular, "unknown": r.unknown}
        for r in engine.recommend(histories, k=4, exclude=[[5], [], []])
    ]
    for _ in range(20):
        answer = client.post("/v1/recommend", json={"histories": histories, "k": 4, "exclude": [[5], [], []]}).json()
        assert answer == {"rankings": expected, "model": engine.fingerprint}


def test_what_one_replica_stores_the_other_knows(application: Application) -> None:
    client, engine, store = application
    items = [1, 2, 3, 5, 6, 7, 8, 10]
    for n, item in enumerate(items):
        for added in (True, False):
            body = {"items": [item], "event_id": f"event-{n}"}
            assert client.post("/v1/users/anna/events", json=body).json() == {"added": added}
        with Recommender(engine, store) as recommender:
            assert recommender.history("anna") == items[: n + 1]
            expected = recommender.recommend("anna", 5)
        for _ in range(4):
            answer = client.get("/v1/users/anna/recommendations", params={"k": 5}).json()
            assert (answer["items"], answer["scores"]) == (expected.items, expected.scores.tolist())
            assert answer["model"] == engine.fingerprint


def test_ids_in_paths_may_hold_anything(application: Application) -> None:
    client, _, store = application
    for path, user in (("a%3Fb", "a?b"), ("a%2Fb", "a/b"), ("a%25b", "a%b")):
        assert client.post(f"/v1/users/{path}/events", json={"items": [7]}).json() == {"added": True}
        with Recommender(application[1], store) as recommender:
            assert recommender.history(user) == [7]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("POST", "/v1/recommend", b"{", 400, "the body is no JSON"),
        ("POST", "/v1/recommend", b'{"histories": [["A-1"]]}', 400, "item id 'A-1' is of type str"),
        ("GET", "/v1/users/anna/recommendations?k=x", None, 400, "k is 'x': give a whole number"),
        ("GET", "/v1/recommend", None, 405, "use POST"),
        ("GET", "/nothing", None, 404, "nothing answers GET '/nothing'"),
    ],
)
def test_errors_are_told(
    application: Application, method: str, path: str, body: bytes | None, status: int, said: str
) -> None:
    answer = application[0].request(method, path, content=body)
    assert answer.status_code == status
    assert said in answer.json()["error"]


@pytest.mark.parametrize(
    "arguments", [{}, {"engine": "bundle", "replica": "2"}, {"engine": "bundle", "replicas": "two"}]
)
def test_arguments_of_the_application_are_checked(arguments: dict[str, Any]) -> None:
    from recblr.runtime.ray_app import app

    with pytest.raises(ConfigError):
        app(arguments)
