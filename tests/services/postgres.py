"""A PostgreSQL of the test session's own, in a temporary folder."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import sqlalchemy as sa

from tests.services.programs import as_user, free_port, program, wait_until


class Postgres:
    """A server: `url` for SQLAlchemy, without a password; `kill` and `start` as often as a test likes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"postgresql+psycopg://offbeat@127.0.0.1:{self.port}/postgres"
        self._bin = Path(program("postgres", "/usr/lib/postgresql/*/bin")).parent
        self._user, self._process = as_user("postgres"), None
        if self._user:
            shutil.chown(folder, "postgres")
        command = [self._bin / "initdb", "-A", "trust", "-U", "offbeat", "-D", folder / "data", "--no-sync"]
        subprocess.run(command, check=True, capture_output=True, cwd=folder, **self._user)

    def start(self) -> None:
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": self.folder, "fsync": "off"}
        flags = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        log = self.folder / "log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self.folder / "data", "-p", str(self.port), *flags],
                stdout=output, stderr=output, cwd=self.folder, **self._user,
            )  # fmt: skip
        wait_until(self._answers, self._process, log)

    def kill(self) -> None:
        """End it at once, as a crash would: SIGQUIT leaves recovery to the next start."""
        if self._process:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()

    def _answers(self) -> bool:
        try:
            engine = sa.create_engine(self.url, poolclass=sa.NullPool)
            engine.connect().close()
        except sa.exc.OperationalError:
            return False
        return True
