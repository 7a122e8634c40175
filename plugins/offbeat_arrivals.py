"""`Arrivals`: the trigger that wakes `ingest__<stream>` when its source has something to read.

In: a stream's name, all that Airflow stores of it. Out: an event a wake, at most one every few seconds, that
says nothing but that. The YAML is read and secrets are resolved in the triggerer. Imports nothing heavy: DAG
files and all parts of Airflow load it.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from pipeline.errors import OffbeatError
from pipeline.log import redact

if TYPE_CHECKING:
    from pipeline.steps import Offbeat

LOOK = 1.0  # seconds from one look to the next
PAUSE = 5.0  # seconds after a wake: the ingest it began reads all that comes until it looks
AGAIN = 30.0  # seconds after an error
ANEW = 600.0  # seconds after which the YAML is read again


class Arrivals(BaseEventTrigger):
    """Wakes whoever watches `stream`; an error is logged and tried again, as the schedule sweeps anyway."""

    def __init__(self, stream: str) -> None:
        super().__init__()
        self.stream = stream

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what Airflow stores: no address and no secret."""
        return "offbeat_arrivals.Arrivals", {"stream": self.stream}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look once a second, for as long as somebody watches."""
        while True:
            try:
                async for event in self._some():
                    yield event
            except OffbeatError as error:
                await self.log.awarning("nobody wakes %s: %s", self.stream, redact(str(error)))
                await asyncio.sleep(AGAIN)

    async def _some(self) -> AsyncIterator[TriggerEvent]:
        from pipeline.steps import Offbeat

        work = await asyncio.to_thread(Offbeat.open)
        await _lend_connections(work, self.stream)
        arrivals = await asyncio.to_thread(work.arrivals, self.stream)
        ends = asyncio.get_running_loop().time() + ANEW
        try:
            while asyncio.get_running_loop().time() < ends:
                if await asyncio.to_thread(arrivals.some):
                    yield TriggerEvent({"stream": self.stream})
                    await asyncio.sleep(PAUSE)
                await asyncio.sleep(LOOK)
        finally:
            await asyncio.to_thread(arrivals.close)


async def _lend_connections(work: Offbeat, stream: str) -> None:
    """Put the connections that the source refers to into the environment, where references are resolved."""
    config = work.stream(stream).source.model_dump_json()
    for name in {found[1] for found in re.finditer(r"\$\{connection:([^:}]+)", config)}:
        try:
            os.environ[f"AIRFLOW_CONN_{name.upper()}"] = (await Connection.async_get(name)).get_uri()
        except AirflowNotFoundException:
            continue  # the source that needs it complains
