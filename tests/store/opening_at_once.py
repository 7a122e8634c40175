"""Open one new database in many processes at once. Usage: opening_at_once.py URL COUNT."""

from __future__ import annotations

import os
import sys
import time

from pipeline.store.database import open_database
from pipeline.store.leases import cursor, set_cursor


def child(url: str, number: int, start: float) -> None:
    time.sleep(max(start - time.monotonic(), 0))
    engine = open_database(url)
    set_cursor(engine, "pumps", f"child{number}", {"number": number})
    assert cursor(engine, "pumps", f"child{number}") == {"number": number}


def main(url: str, count: int) -> int:
    start, children = time.monotonic() + 0.2, []
    for number in range(count):
        pid = os.fork()
        if not pid:
            try:
                child(url, number, start)
            except BaseException as error:  # noqa: BLE001
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        children.append(pid)
    return sum(os.waitpid(pid, 0)[1] != 0 for pid in children)


sys.exit(main(sys.argv[1], int(sys.argv[2])))
