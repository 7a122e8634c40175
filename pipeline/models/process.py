"""Training in a process of its own: CUDA breaks in forked workers, and memory goes back when it ends.

In: what `training.train` takes. Out: what it returns; epochs are told as they happen. The parent starts
`python -m pipeline.models.process`, writes a work folder, and names it on the child's stdin; the child
answers on stdout, one JSON object a line. Neither outlives the other: the parent kills the child when it
leaves, and the child ends when its stdin, held open by the parent, closes.
"""

from __future__ import annotations

import atexit
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import PIPE
from typing import IO, Any, NoReturn

from pipeline import errors
from pipeline.config.models import Model as ModelConfig
from pipeline.models import handover
from pipeline.models.progress import Epoch, Trained
from pipeline.models.windows import WindowSource

_ROOT = Path(__file__).resolve().parents[2]
_TAIL = 2000  # characters of stderr shown when a training fails
_CHATTER = ("WARNING: All log messages before absl", "I0000 ")  # TensorFlow's, at every start


def train_in_process(
    config: ModelConfig,
    train: WindowSource,
    validation: WindowSource,
    out: Path,
    *,
    on_epoch: Callable[[Epoch], None] | None = None,
    work: Path | None = None,
) -> Trained:
    """Train as `training.train` does, in a fresh process.

    Args:
        config: The stream's `model` section.
        train: Windows to learn from.
        validation: Windows to stop by, held out in time.
        out: Folder that gets `model.keras` and `model.onnx`.
        on_epoch: Called in this process after each epoch.
        work: Folder for a temporary folder of the windows; the system's own when None.

    Raises:
        Unavailable: If the process was killed, by the system's out-of-memory killer for one.
        OffbeatError: Whatever the training raised, as its own class.
        TerminalError: If it failed in any other way; the end of its stderr is in the message.
    """
    with tempfile.TemporaryDirectory(prefix="offbeat-train-", dir=work) as folder:
        handover.put(Path(folder), config, train=train, validation=validation)
        with _child(Path(folder), out) as (child, stderr):
            trained = _listen(child, on_epoch or (lambda _: None))
            code = child.wait()
            return trained if trained and code == 0 else _failed(code, _tail(stderr))


_early: list[tuple[subprocess.Popen[bytes], IO[bytes]]] = []


def start_early() -> None:
    """Start the process of the next training now: it loads TensorFlow, for seconds, while windows are cut."""
    if not _early:
        _early.append(_started())
        atexit.register(_end_early)


def _end_early() -> None:
    for child, _ in _early:
        child.kill()


def _started() -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    # -P: nothing in the current folder may stand in for a module of ours or of Python's.
    command = [sys.executable, "-P", "-m", "pipeline.models.process"]
    stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
    child = subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=stderr, env=_environment())  # noqa: S603
    return child, stderr


@contextmanager
def _child(work: Path, out: Path) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    child, stderr = _early.pop() if _early else _started()
    with stderr, child:
        try:
            assert child.stdin is not None
            with suppress(BrokenPipeError):  # it has failed already, and its stderr says why
                child.stdin.write(json.dumps([str(work), str(out.absolute())]).encode() + b"\n")
                child.stdin.flush()
            yield child, stderr
        finally:
            child.kill()


def _environment() -> dict[str, str]:
    path = os.pathsep.join(p for p in (str(_ROOT), os.environ.get("PYTHONPATH")) if p)
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    return quiet | os.environ | {"PYTHONPATH": path}


def _listen(child: subprocess.Popen[bytes], on_epoch: Callable[[Epoch], None]) -> Trained | None:
    assert child.stdout is not None
    for line in child.stdout:
        if not line.endswith(b"\n"):
            break  # killed in the middle of a word
        said = json.loads(line)
        if "epoch" in said:
            on_epoch(Epoch(**said["epoch"]))
        elif "trained" in said:
            return Trained(**said["trained"])
        else:
            raise _as_raised(said["error"], said["message"])
    return None


def _as_raised(name: str, message: str) -> errors.OffbeatError:
    kind = getattr(errors, name, errors.TerminalError)
    return kind(message) if issubclass(kind, errors.OffbeatError) else errors.TerminalError(message)


def _tail(stderr: IO[bytes]) -> str:
    stderr.seek(0)
    lines = stderr.read().decode(errors="replace").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(_CHATTER))[-_TAIL:].strip()


def _failed(code: int, tail: str) -> NoReturn:
    said = f"; it last wrote:\n{tail}" if tail else ""
    if code < 0:
        name = signal.Signals(-code).name
        why = ", perhaps because memory ran out" if name == "SIGKILL" else ""
        raise errors.Unavailable(f"the training process was killed by {name}{why}{said}")
    raise errors.TerminalError(f"the training process failed with exit code {code}{said}")


def main() -> int:
    """Train what the parent names on stdin, telling it on stdout."""
    tell = _private_stdout()
    from pipeline.models.training import train

    asked = sys.stdin.buffer.readline()
    if not asked:
        return 1  # nobody is there any more
    work, out = map(Path, json.loads(asked))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        trained = train(
            handover.config(work),
            handover.windows(work, "train"),
            handover.windows(work, "validation"),
            out,
            on_epoch=lambda epoch: tell({"epoch": dataclasses.asdict(epoch)}),
        )
    except errors.OffbeatError as error:
        tell({"error": type(error).__name__, "message": str(error)})
        return error.exit_code
    tell({"trained": dataclasses.asdict(trained)})
    return 0


def _private_stdout() -> Callable[[dict[str, Any]], None]:
    """Keep stdout for ourselves: what libraries print there goes to stderr."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def tell(what: dict[str, Any]) -> None:
        print(json.dumps(what), file=channel, flush=True)

    return tell


def _end_with_parent() -> None:
    os.read(0, 1)  # not sys.stdin, whose lock a daemon thread would take to the grave
    os._exit(1)


if __name__ == "__main__":
    # All is written and told: TensorFlow's own teardown could only take time, or crash.
    os._exit(main())
