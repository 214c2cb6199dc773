"""The Open Inference Protocol by Triton's own clients, over HTTP and gRPC."""

from __future__ import annotations

import queue
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import numpy as np
import pytest

from recblr.runtime import Engine

from .process import Server

TYPES = {"int64": "INT64", "int32": "INT32", "float32": "FP32", "object": "BYTES"}


@pytest.fixture(scope="module")
def both(golden_bundles: Path) -> Iterator[Server]:
    """A server with both ports, of the golden model `integer`."""
    server = Server(golden_bundles / "integer", "--grpc-port", 0)
    yield server
    server.stop()


def library(kind: str) -> ModuleType:
    """Of tritonclient, for `http` or `grpc`."""
    pytest.importorskip("tritonclient")
    if kind == "http":
        pytest.importorskip("geventhttpclient", reason="tritonclient.http needs geventhttpclient")
        import tritonclient.http as over_http

        return over_http
    pytest.importorskip("grpc")
    import tritonclient.grpc as over_grpc

    return over_grpc


class Client:
    """Triton's client of one kind, with tensors from arrays."""

    def __init__(self, kind: str, address: str, **options: Any) -> None:
        self.kind = kind
        self.library = library(kind)
        self.client = self.library.InferenceServerClient(address, **options)

    def inputs(self, arrays: Mapping[str, np.ndarray], **options: Any) -> list[Any]:
        tensors = []
        for name, array in arrays.items():
            tensor = self.library.InferInput(name, list(array.shape), TYPES[array.dtype.name])
            tensor.set_data_from_numpy(array, **options)
            tensors.append(tensor)
        return tensors

    def infer(self, arrays: Mapping[str, np.ndarray], *outputs: str, **options: Any) -> Any:
        wanted = [self.library.InferRequestedOutput(name) for name in outputs] or None
        return self.client.infer("recblr", self.inputs(arrays), outputs=wanted, **options)

    def refusal(self, arrays: Mapping[str, np.ndarray], **options: Any) -> tuple[str, str]:
        """The message, and the status."""
        from tritonclient.utils import InferenceServerException

        with pytest.raises(InferenceServerException) as raised:
            self.infer(arrays, **options)
        return raised.value.message(), raised.value.status()


@pytest.fixture(params=["http", "grpc"])
def client(both: Server, request: pytest.FixtureRequest) -> Iterator[Client]:
    kind = request.param
    client = Client(kind, both.url.removeprefix("http://") if kind == "http" else both.grpc)
    yield client
    client.client.close()


def ids(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def test_what_it_says_of_itself(client: Client) -> None:
    triton = client.client
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("recblr")
    assert triton.is_model_ready("recblr", "1")
    assert not triton.is_model_ready("other")
    options = {} if client.kind == "http" else {"as_json": True}
    assert triton.get_server_metadata(**options)["name"] == "recblr"
    metadata = triton.get_model_metadata("recblr", **options)
    assert metadata["versions"] == ["1"]
    names = [tensor["name"] for tensor in metadata["inputs"] + metadata["outputs"]]
    assert {"item_ids", "lengths", "offsets", "state_in", "items", "scores", "counts", "state_out"} <= set(names)
    assert metadata["inputs"][0]["datatype"] == "INT64"
    (entry,) = (
        triton.get_model_repository_index()
        if client.kind == "http"
        else triton.get_model_repository_index(as_json=True)["models"]
    )
    assert (entry["name"], entry["state"]) == ("recblr", "READY")


def test_answers_are_those_of_the_engine(client: Client, engines: Mapping[str, Engine]) -> None:
    histories = [[3, 23, 30], [], [99], [28]]
    flat = ids(*(item for row in histories for item in row))
    expected = engines["integer"].recommend(histories, k=4)
    for boundaries in (
        {"lengths": ids(*map(len, histories))},
        {"offsets": np.array([0, 3, 3, 4, 5], dtype=np.int32)},
    ):
        answer = client.infer(
            {"item_ids": flat, **boundaries}, parameters={"k": 4}, request_id="r1", timeout=60_000_000
        )
        response = answer.get_response() if client.kind == "http" else answer.get_response(as_json=True)
        assert response["id"] == "r1"
        items, scores = answer.as_numpy("items"), answer.as_numpy("scores")
        counts = answer.as_numpy("counts")
        for row, ranking in enumerate(expected):
            assert items[row, : counts[row]].tolist() == list(ranking.items)
            assert scores[row, : counts[row]].tobytes() == np.asarray(ranking.scores, dtype=np.float32).tobytes()
        assert answer.as_numpy("unknown").tolist() == [ranking.unknown for ranking in expected]
        assert answer.as_numpy("popular").tolist() == [ranking.popular for ranking in expected]


def test_states_carry_on(client: Client) -> None:
    whole = client.infer({"item_ids": ids(3, 23, 30)}, "scores", parameters={"exclude_seen": False})
    first = client.infer({"item_ids": ids(3, 23)}, "state_out")
    state = first.as_numpy("state_out")
    assert state.shape[0] == 1
    answer = client.infer({"item_ids": ids(30), "state_in": state}, "scores", parameters={"exclude_seen": False})
    assert answer.as_numpy("scores").tobytes() == whole.as_numpy("scores").tobytes()


def test_exclusions_and_allow_lists(client: Client) -> None:
    arrays = {
        "item_ids": ids(3, 23),
        "lengths": ids(1, 1),
        "exclude_ids": np.array([b"30"], dtype=object),
        "exclude_lengths": ids(0, 1),
        "only_ids": ids(28, 30),
    }
    answer = client.infer(arrays)
    assert answer.as_numpy("counts").tolist() == [2, 1]
    assert answer.as_numpy("items")[1, 0] == 28


def test_nobody_is_answered_with_nothing(client: Client) -> None:
    answer = client.infer({"item_ids": ids(), "lengths": ids()})
    assert answer.as_numpy("items").shape == (0, 0)
    assert answer.as_numpy("counts").shape == (0,)


def test_asynchronous(client: Client) -> None:
    if client.kind == "http":
        waiting = [client.client.async_infer("recblr", client.inputs({"item_ids": ids(10)})) for _ in range(8)]
        answers = [one.get_result() for one in waiting]
    else:
        done: queue.Queue[tuple[Any, Any]] = queue.Queue()
        for _ in range(8):
            inputs = client.inputs({"item_ids": ids(10)})
            client.client.async_infer("recblr", inputs, callback=lambda result, error: done.put((result, error)))
        finished = [done.get(timeout=60) for _ in range(8)]
        assert [error for _, error in finished] == [None] * 8
        answers = [result for result, _ in finished]
    assert len({answer.as_numpy("scores").tobytes() for answer in answers}) == 1


def test_errors_are_the_same_over_both(client: Client) -> None:
    invalid = "400" if client.kind == "http" else "StatusCode.INVALID_ARGUMENT"
    message, status = client.refusal({"item_ids": ids(10, 20), "lengths": ids(1, 2)})
    assert (message, status) == (
        "lengths[1] is 2, but 1 of the 2 item_ids are left: give how many are each user's",
        invalid,
    )
    message, status = client.refusal({"item_ids": np.array([b"x"], dtype=object)})
    assert message.startswith("histories[0]: item id 'x' is of type str, the model's item ids are integers")
    assert status == invalid
    message, status = client.refusal({"item_ids": ids(10)}, parameters={"k": 0})
    assert message.startswith("k is 0: give a whole number from 1 to ")
    message, status = client.refusal({"item_ids": ids(10)}, model_version="7")
    assert message == "version '7' of model 'recblr' is not served: use '1', or none"
    assert status == ("404" if client.kind == "http" else "StatusCode.NOT_FOUND")


def test_statistics_count_both(client: Client) -> None:
    def counted() -> tuple[int, int, int]:
        options = {} if client.kind == "http" else {"as_json": True}
        (stats,) = client.client.get_inference_statistics("recblr", **options)["model_stats"]
        inferences = stats["inference_stats"]
        return (
            int(stats["inference_count"]),
            int(inferences["success"]["count"]),
            int(inferences.get("fail", {}).get("count", 0)),
        )

    users, successes, failures = counted()
    client.infer({"item_ids": ids(10, 20), "lengths": ids(1, 1)})
    client.refusal({"item_ids": ids(10)}, parameters={"k": 0})
    assert counted() == (users + 2, successes + 1, failures + 1)


def test_json_is_strict(both: Server) -> None:
    """What Python's JSON reads that is none: scores are numbers, and fill is a number, too."""
    body = {
        "inputs": [
            {"name": "item_ids", "datatype": "INT64", "shape": [2], "data": [10, 20]},
            {"name": "lengths", "datatype": "INT64", "shape": [2], "data": [0, 2]},
        ],
        "parameters": {"k": 6},
    }
    answer = both.post("/v2/models/recblr/infer", json=body)
    assert answer.status_code == 200, answer.text
    assert "nan" not in answer.text.lower()
    assert "inf" not in answer.text.lower()
    tensors = {tensor["name"]: tensor for tensor in answer.json()["outputs"]}
    assert len(tensors["scores"]["data"]) == np.prod(tensors["scores"]["shape"])


def test_health_of_grpc(both: Server) -> None:
    """As Kubernetes' probes ask for it."""
    grpc = pytest.importorskip("grpc")
    with grpc.insecure_channel(both.grpc) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"") == b"\x08\x01"  # SERVING
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")
        with pytest.raises(grpc.RpcError) as raised:
            next(watch(b""))
    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_messages_that_are_none(both: Server) -> None:
    """Bytes that are no protobuf, calls that are not there, another content type, HTTP/1.1."""
    grpc = pytest.importorskip("grpc")
    with grpc.insecure_channel(both.grpc) as channel:
        for method, content, code in [
            ("ModelInfer", b"\xff" * 100, grpc.StatusCode.UNIMPLEMENTED),  # which libgrpc++ says of it
            ("ModelInfer", b"", grpc.StatusCode.NOT_FOUND),
            ("ModelStreamInfer", b"", grpc.StatusCode.UNIMPLEMENTED),
            ("ModelInfer", bytes(33 * 1024**2), grpc.StatusCode.RESOURCE_EXHAUSTED),
        ]:
            with pytest.raises(grpc.RpcError) as raised:
                channel.unary_unary(f"/inference.GRPCInferenceService/{method}")(content, timeout=60)
            assert raised.value.code() == code, raised.value
    with pytest.raises(httpx.HTTPError):
        httpx.post(
            f"http://{both.grpc}/inference.GRPCInferenceService/ModelInfer", json={}, trust_env=False, timeout=60
        )
    with grpc.insecure_channel(both.grpc) as channel:
        assert channel.unary_unary("/inference.GRPCInferenceService/ServerReady")(b"") == b"\x08\x01"


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost that signs itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


def test_grpc_with_tls_certificates_and_tokens(
    start_server: Callable[..., Server], golden_bundles: Path, identity: tuple[Path, Path]
) -> None:
    grpc = pytest.importorskip("grpc")
    certificate, key = identity
    server = start_server(
        golden_bundles / "integer",
        *("--grpc-port", 0, "--tls-certificate", certificate, "--tls-key", key, "--tls-client-ca", certificate),
        *("--token", "secret", "--unix-socket", golden_bundles.parent / "oip.sock"),
        ready=False,
        expected="andshake|grpc",
    )
    address = next(a for a in server.addresses if a.startswith("grpcs://")).removeprefix("grpcs://")
    pem = certificate.read_bytes()
    ready = "/inference.GRPCInferenceService/ServerMetadata"

    def ask(credentials: Any, metadata: tuple[tuple[str, str], ...]) -> Any:
        with grpc.secure_channel(address, credentials) as channel:
            try:
                channel.unary_unary(ready)(b"", metadata=metadata, timeout=30)
            except grpc.RpcError as error:
                return error.code()
            return grpc.StatusCode.OK

    mutual = grpc.ssl_channel_credentials(pem, key.read_bytes(), pem)
    assert ask(mutual, (("authorization", "Bearer secret"),)) == grpc.StatusCode.OK
    assert ask(mutual, (("authorization", "Bearer other"),)) == grpc.StatusCode.UNAUTHENTICATED
    assert ask(mutual, ()) == grpc.StatusCode.UNAUTHENTICATED
    assert ask(grpc.ssl_channel_credentials(pem), (("authorization", "Bearer secret"),)) == grpc.StatusCode.UNAVAILABLE


def test_grpc_takes_no_compressed_messages(start_server: Callable[..., Server], golden_bundles: Path) -> None:
    grpc = pytest.importorskip("grpc")
    server = start_server(golden_bundles / "integer", "--grpc-port", 0, expected="Compression algorithm 'gzip'")
    held = server.resident_bytes()
    with grpc.insecure_channel(server.grpc) as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        for _ in range(5):
            with pytest.raises(grpc.RpcError) as refused:
                infer(bytes(30 << 20), compression=grpc.Compression.Gzip, timeout=30)
            assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert server.resident_bytes() - held < 16 << 20
