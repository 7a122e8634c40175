"""Training in its own process: the same result, told as it happens, and no process left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest

from pipeline.errors import DataError, NotEnoughData, TerminalError, Unavailable
from pipeline.models import handover
from pipeline.models.process import train_in_process
from pipeline.models.reconstruct import Reconstructor
from pipeline.models.training import train
from pipeline.models.windows import ArrayWindows


class Gathered:
    """A source that is nothing but a source."""

    def __init__(self, windows: ArrayWindows) -> None:
        self._windows = windows

    def __len__(self) -> int:
        return len(self._windows)

    def gather(self, idx):
        return self._windows.gather(idx)


@pytest.fixture
def data(make_waves):
    return make_waves(300, seed=1), make_waves(100, seed=2)


def trainers() -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    return [c for c in children if c.is_running() and "pipeline.models.process" in c.cmdline()]


def waited_for(find, seconds=60):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := find():
            return found
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def test_a_process_gives_what_training_here_gives(make_config, data, all_of, same, tmp_path):
    told = []
    apart = train_in_process(
        make_config(), Gathered(data[0]), data[1], tmp_path / "apart", on_epoch=told.append
    )
    here = train(make_config(), *data, tmp_path / "here")
    assert [e.epoch for e in told] == [1, 2]
    assert apart.history == here.history
    windows = all_of(data[1])
    one, other = (Reconstructor(tmp_path / name / "model.onnx")(*windows) for name in ("apart", "here"))
    assert same(one, other)
    assert not trainers()


def test_a_killed_training_is_a_clear_transient_error(make_config, data, tmp_path):
    killer = threading.Thread(target=lambda: os.kill(waited_for(trainers)[0].pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(Unavailable, match="killed by SIGKILL, perhaps because memory ran out"):
        train_in_process(make_config(), *data, tmp_path)
    killer.join()


def test_an_error_of_the_training_arrives_as_itself(make_config, data, tmp_path):
    huge = ArrayWindows(data[0].values * np.float32(1e30), data[0].mask, data[0].starts, data[0].length)
    with pytest.raises(DataError, match="training diverged"):
        train_in_process(make_config(), huge, data[1], tmp_path)


def test_any_other_failure_shows_the_end_of_stderr(make_config, data, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TerminalError, match=r"(?s)exit code 1; it last wrote:.*NotADirectoryError"):
        train_in_process(make_config(epochs=1), *data, tmp_path / "file" / "out")


def test_no_windows_is_said_without_starting_a_process(make_config, data, tmp_path):
    empty = ArrayWindows(data[0].values, data[0].mask, data[0].starts[:0], data[0].length)
    with pytest.raises(NotEnoughData, match="no validation windows"):
        train_in_process(make_config(), data[0], empty, tmp_path)


def test_leaving_the_parent_ends_the_child(make_config, data, tmp_path):
    def leave(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_in_process(make_config(epochs=1000), *data, tmp_path, on_epoch=leave)
    assert not trainers()


def test_a_killed_parent_takes_the_child_with_it(tmp_path):
    script = f"""
import numpy as np
from pathlib import Path
from pipeline.config.models import Model
from pipeline.models.process import train_in_process
from pipeline.models.windows import ArrayWindows
rows = np.zeros((2000, 3), np.float32)
windows = ArrayWindows(rows, np.ones_like(rows), np.arange(1900), 16)
train_in_process(Model(epochs=1000, patience=1000), windows, windows, Path({str(tmp_path)!r}))
"""
    parent = subprocess.Popen([sys.executable, "-c", script], env=os.environ | {"TMPDIR": str(tmp_path)})
    child = waited_for(trainers)[0]
    parent.kill()
    parent.wait()
    child.wait(timeout=60)


def test_windows_are_handed_over_as_they_are_without_pickle(make_config, make_waves, all_of, tmp_path):
    config, source = make_config(units=(8, 4)), make_waves(300, seed=1)
    handover.put(tmp_path, config, train=source, validation=Gathered(source))
    assert handover.config(tmp_path) == config
    for name in ("train", "validation"):
        back = handover.windows(tmp_path, name)
        assert isinstance(back.values, np.memmap)
        for ours, theirs in zip(all_of(source), all_of(back), strict=True):
            assert np.array_equal(ours, theirs)
    for file in tmp_path.rglob("*.npy"):
        np.load(file, allow_pickle=False)


def test_handing_over_gathers_in_chunks(make_config, make_waves, tmp_path, monkeypatch):
    monkeypatch.setattr(handover, "_CHUNK", 16 * 3 * 10)
    source = make_waves(300, seed=1)
    asked = []

    class Counted(Gathered):
        def gather(self, idx):
            asked.append(len(idx))
            return super().gather(idx)

    handover.put(tmp_path, make_config(), train=Counted(source))
    assert max(asked) == 10
    assert sum(asked) == len(source) + 1
