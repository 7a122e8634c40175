"""Moto's S3 as a process: python s3_server.py PORT. Each request is atomic, as they are at Amazon's.

Says of each request its method, its path and how many bytes were answered.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple


def main(port: int) -> None:
    app, alone = DomainDispatcherApplication(create_backend_app), threading.Lock()

    def one_at_a_time(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"].startswith("/moto-api"):  # to do again what was recorded it asks itself
            return app(environ, start)
        with alone:  # moto looks whether an object is there, and then puts it: two at once would both succeed
            answer = list(app(environ, start))
            said = environ["REQUEST_METHOD"], environ["PATH_INFO"], str(sum(map(len, answer)))
            sys.stdout.write(" ".join(said) + "\n")
            sys.stdout.flush()
            return answer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    run_simple("127.0.0.1", port, one_at_a_time, threaded=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
