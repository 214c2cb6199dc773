"""recblr.runtime behind LitServe: litserve_app.py PORT."""

from __future__ import annotations

import sys
from typing import Any

import litserve


class Recommendations(litserve.LitAPI):  # type: ignore[misc]
    """POST /v1/recommend, in the worker process that LitServe makes for it."""

    def setup(self, device: str) -> None:
        """Load the model."""
        import answers

        self._answers = answers

    def decode_request(self, request: dict[str, Any]) -> tuple[list[list[int]], int | None]:
        """The body's fields."""
        return request["histories"], request.get("k")

    def predict(self, asked: tuple[list[list[int]], int | None]) -> Any:
        """The rankings."""
        return self._answers.ENGINE.recommend(*asked)

    def encode_response(self, rankings: Any) -> dict[str, Any]:
        """The body of the answer."""
        return self._answers.answer(rankings)


if __name__ == "__main__":
    api = Recommendations(api_path="/v1/recommend")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(port=int(sys.argv[1]), host="127.0.0.1", generate_client_file=False, log_level="warning")
