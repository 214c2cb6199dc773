"""recblr.runtime behind FastAPI; uvicorn runs it."""

from __future__ import annotations

from answers import ENGINE, answer
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from pydantic import BaseModel


class Body(BaseModel):
    """The body."""

    histories: list[list[int]]
    k: int | None = None


app = FastAPI()


@app.post("/v1/recommend")
async def recommend(body: Body) -> JSONResponse:
    """The best next items."""
    return JSONResponse(answer(await ENGINE.arecommend(body.histories, body.k)))
