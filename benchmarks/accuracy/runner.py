"""Runs a suite's jobs: two workers, one thread each, the longest first; nothing known is done again.

In: a suite. Out: what each job returned, how long each took, and what failed. A job that fails is told and
left out; it never stops the others.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field

import numpy as np

from benchmarks.accuracy.store import load, result_path, save
from benchmarks.accuracy.work import LIMITS, OURS, Arrays, Job, Settings, Suite

WORKERS = 2
TOOK = "took_s"


@dataclass
class Outcome:
    """What became of a suite's jobs."""

    done: dict[Job, Arrays] = field(default_factory=dict)
    failed: dict[Job, str] = field(default_factory=dict)
    wall_s: float = 0.0
    """Of this run."""

    @property
    def worker_s(self) -> float:
        """Seconds that all jobs took when they were first done, one worker at a time."""
        return float(sum(float(arrays[TOOK]) for arrays in self.done.values() if TOOK in arrays))


def chosen(suite: Suite, settings: Settings, only: str = "all") -> list[Job]:
    """Return a suite's jobs, the longest first: `all`, those of `ours` or the `baselines`."""
    wanted = {"all": (True, False), "ours": (True,), "baselines": (False,)}[only]
    jobs = [job for job in suite.jobs(settings.data) if job.method.startswith(OURS) in wanted]
    return sorted(jobs, key=lambda job: (-job.rows, job.method != OURS, job.series, job.method))


def run_suite(
    suite: Suite, jobs: list[Job], settings: Settings, told: Callable[[Job, float, str], None]
) -> Outcome:
    """Do what is not known yet; what needs the machine to itself is measured anew each time.

    Args:
        suite: whose jobs they are.
        jobs: in the order to start them.
        settings: of the run.
        told: called for each job with its seconds (0: known from before) and its failure, if any.
    """
    outcome, began, left = Outcome(), time.perf_counter(), []
    for job in jobs:
        kept = None if suite.ALONE else load(result_path(job, suite, settings))
        if kept is None:
            left.append(job)
        else:
            outcome.done[job] = kept
            told(job, 0.0, "")
    for job, arrays, failure in _results(suite, left, settings):
        if arrays is None:
            outcome.failed[job] = failure
        else:
            outcome.done[job] = arrays
        told(job, float(arrays[TOOK]) if arrays else 0.0, failure)
    outcome.wall_s = time.perf_counter() - began
    return outcome


def _results(suite: Suite, jobs: list[Job], settings: Settings) -> Iterable[tuple[Job, Arrays | None, str]]:
    if suite.ALONE or not jobs:
        return (_do(suite.NAME, job, settings) for job in jobs)
    return _in_workers(suite, jobs, settings)


def _in_workers(
    suite: Suite, jobs: list[Job], settings: Settings
) -> Iterator[tuple[Job, Arrays | None, str]]:
    os.environ.update(dict.fromkeys(LIMITS, "1"))
    context = multiprocessing.get_context("spawn")
    workers = min(WORKERS, len(jobs))
    with ProcessPoolExecutor(workers, context, _end_with, (os.getpid(),)) as pool:
        asked: list[Future[tuple[Job, Arrays | None, str]]] = [
            pool.submit(_do, suite.NAME, job, settings) for job in jobs
        ]
        try:
            for future in as_completed(asked):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _end_with(parent: int) -> None:
    """End this worker soon after its parent did, however that ended: nobody else would."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _do(name: str, job: Job, settings: Settings) -> tuple[Job, Arrays | None, str]:
    """Do one job and keep its result; runs in a worker, and is the outermost boundary there."""
    from benchmarks.accuracy.suites import SUITES

    suite = SUITES[name]
    began = time.perf_counter()
    try:
        arrays = suite.run(job, settings)
    except Exception:  # noqa: BLE001  one series must not end the others
        return job, None, traceback.format_exc()
    arrays = {**arrays, TOOK: np.array(time.perf_counter() - began)}
    save(result_path(job, suite, settings), arrays)
    return job, arrays, ""
