"""Turns public labelled data sets into streams: feeds, one YAML each, and labels.

In: a folder with `smd`, `skab`, `nab` and `fraud_handbook` as Parquet. Out: `<out>/feeds/<stream>/…` in four
file formats, `<out>/configs/streams/<stream>.yaml`, `<out>/feeds/labels/<stream>.json`. A model may learn up
to `training.until`, which each benchmark's own protocol sets; everything after it is judged.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pipeline.errors import DataError
from pipeline.simulate.feed import Fault, Labels
from pipeline.simulate.writer import save_labels

if TYPE_CHECKING:
    import pandas as pd

SMD_MACHINE = "1-2"
SKAB_GROUP = "valve1"
NAB_FILE = "realKnownCause/nyc_taxi.csv"
CARDS_MONTH = (datetime(2018, 7, 1, tzinfo=UTC), datetime(2018, 8, 1, tzinfo=UTC))
_CARDS_UNTIL = datetime(2018, 7, 18, tzinfo=UTC)
_BASE = datetime(2024, 1, 1, tzinfo=UTC)  # for data that comes without a date
_SKAB = {
    "accelerometer_1": ("Accelerometer1RMS", "g"),
    "accelerometer_2": ("Accelerometer2RMS", "g"),
    "current": ("Current", "A"),
    "pressure": ("Pressure", "bar"),
    "temperature": ("Temperature", "°C"),
    "thermocouple": ("Thermocouple", "°C"),
    "voltage": ("Voltage", "V"),
    "flow": ("Volume Flow RateRMS", "l/min"),
}


@dataclass(frozen=True)
class Replay:
    """One data set as a stream: what its feed holds, by file name, its YAML and its labels."""

    config: dict[str, Any]
    labels: Labels
    files: dict[str, pd.DataFrame]


def write_replays(data: Path, out: Path) -> dict[str, Labels]:
    """Write every data set as a stream; return the labels by stream.

    Raises:
        DataError: `data` lacks one of the data sets.
    """
    return {name: write_replay(out, name, make(data)) for name, make in REPLAYS.items()}


def write_replay(out: Path, name: str, replay: Replay) -> Labels:
    """Write one data set as the stream `name`: feed, YAML and labels; return the labels."""
    feed = out / "feeds" / name
    feed.mkdir(parents=True, exist_ok=True)
    for file, frame in replay.files.items():
        _write_frame(feed / file, frame)
    config = {**replay.config, "schedules": dict.fromkeys(("ingest", "train", "score", "watch"), "never")}
    config["source"] = {"type": "files", "path": str(feed.resolve()), "settle": "0s"}
    config["retention"] = dict.fromkeys(("observations", "scores"), "36500d")
    config["training"] = {**config.get("training", {}), "until": replay.labels.normal_until.isoformat()}
    target = out / "configs" / "streams" / f"{name}.yaml"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
    save_labels(out / "feeds", replay.labels)
    return replay.labels


def _write_frame(path: Path, frame: pd.DataFrame) -> None:
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    elif path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True, date_format="iso", date_unit="s")
    else:
        frame.to_csv(path, index=False, date_format="%Y-%m-%dT%H:%M:%SZ")


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    if not path.is_file():
        raise DataError(f"{path} is missing: DATA must be a folder with smd, skab, nab and fraud_handbook")
    return pd.read_parquet(path)


def smd(data: Path) -> Replay:
    """One machine of the Server Machine Dataset (Su et al., KDD 2019): 38 channels, one minute."""
    import pandas as pd

    parts = {p: _read(data / "smd" / f"machine-{SMD_MACHINE}_{p}.parquet") for p in ("train", "test")}
    channels = [c for c in parts["train"].columns if c.startswith("f")]
    begin = {"train": _BASE, "test": _BASE + timedelta(minutes=len(parts["train"]))}
    files: dict[str, pd.DataFrame] = {}
    for part, frame in parts.items():
        time = pd.Series(pd.date_range(begin[part], periods=len(frame), freq="min"), name="time")
        files[f"{len(files) + 1}_{part}.csv.gz"] = pd.concat([time, frame[channels]], axis=1)
    lines = (data / "smd" / f"machine-{SMD_MACHINE}_interpretation_label.txt").read_text().split()
    faults = tuple(_smd_fault(line, begin["test"]) for line in lines)
    config = {
        "kind": "sensor",
        "description": f"Server Machine Dataset, machine {SMD_MACHINE}: 38 metrics of one server.",
        "fields": {"time": {"column": "time"}, "channels": [{"name": c} for c in channels]},
        "grid": {"step": "1m"},
        "alert": {"false_alarms": "2/week", "merge": "30m"},
    }
    end = begin["test"] + timedelta(minutes=len(parts["test"]))
    return Replay(config, _labels("smd", begin["test"], end, files, faults), files)


def _smd_fault(line: str, begin: datetime) -> Fault:
    """Read `first-last:channel,channel…`; rows of the test part, channels counted from 1."""
    rows, channels = line.split(":")
    first, last = (begin + timedelta(minutes=int(n)) for n in rows.split("-"))
    names = tuple(f"f{int(c) - 1:02d}" for c in channels.split(","))
    return Fault("smd", "incident", first, last, names)


def skab(data: Path) -> Replay:
    """A group of the Skoltech Anomaly Benchmark: a water loop whose valve is closed; every file a run.

    The runs are laid side by side, as if as many loops had been started at once: the protocol learns from
    the first 400 rows of each.
    """
    rows = _read(data / "skab" / "skab.parquet")
    rows = rows[rows["file"].str.startswith(f"{SKAB_GROUP}/")].reset_index(drop=True)
    started = rows.groupby("file")["datetime"].transform("min")
    rows["time"] = _BASE + (rows["datetime"] - started)
    rows["loop"] = rows["file"].str.replace("/", "-")
    columns = ["time", "loop", *(column for column, _ in _SKAB.values())]
    files = {f"{loop}.csv": run[columns] for loop, run in rows.groupby("loop")}
    faults = [
        _fault(str(loop), "valve closed", run["time"], spell, timedelta(seconds=1))
        for loop, run in rows.groupby("loop")
        for spell in _spells(run["anomaly"].to_numpy())
    ]
    config = {
        "kind": "sensor",
        "description": f"Skoltech Anomaly Benchmark, {SKAB_GROUP}: a water loop, eight sensors, one second.",
        "fields": {
            "time": {"column": "time"},
            "entity": "loop",
            "channels": [{"name": n, "column": column, "unit": unit} for n, (column, unit) in _SKAB.items()],
        },
        "grid": {"step": "1s"},
        "window": {"length": 32, "stride": 1, "delay": 3},
        "lateness": "5s",
        "alert": {"false_alarms": "30/hour", "merge": "30s"},
    }
    until = _BASE + timedelta(seconds=400)
    return Replay(config, _labels("skab", until, rows["time"].max(), files, faults), files)


def nab(data: Path) -> Replay:
    """New York taxi rides of the Numenta Anomaly Benchmark: a marathon, three holidays and a blizzard."""
    rows = _read(data / "nab" / "nab.parquet")
    name = Path(NAB_FILE).stem
    rows = rows[rows["file"] == name]
    frame = rows.rename(columns={"timestamp": "time", "value": "rides"})[["time", "rides"]]
    frame = frame.assign(time=frame["time"].dt.tz_localize("UTC"))
    windows = json.loads((data / "nab" / "combined_windows.json").read_text())[NAB_FILE]
    spans = [[datetime.fromisoformat(t).replace(tzinfo=UTC) for t in window] for window in windows]
    faults = [Fault("nab", "event", first, last, ("rides",)) for first, last in spans]
    config = {
        "kind": "sensor",
        "description": "Numenta Anomaly Benchmark, nyc_taxi: taxi rides in New York, every half hour.",
        "fields": {"time": {"column": "time"}, "channels": [{"name": "rides", "unit": "rides"}]},
        "grid": {"step": "30m"},
        "window": {"length": 48, "stride": 1, "delay": 3},
        "training": {"history": "365d"},
        "alert": {"false_alarms": "1/month", "merge": "12h"},
    }
    until = spans[0][0].replace(hour=0, minute=0)
    end = frame["time"].max().to_pydatetime() + timedelta(minutes=30)
    files = {f"{name}.jsonl": frame}
    return Replay(config, _labels("nab", until, end, files, faults), files)


def cards(data: Path) -> Replay:
    """One month of the Fraud Detection Handbook's card transactions, some of them fraudulent."""
    import pandas as pd

    rows = _read(data / "fraud_handbook" / "transactions.parquet")
    when = rows["TX_DATETIME"].dt.tz_localize("UTC")
    rows = rows.assign(time=when)[(when >= CARDS_MONTH[0]) & (when < CARDS_MONTH[1])]
    frame = pd.DataFrame(
        {
            "transaction_id": rows["TRANSACTION_ID"].astype(str),
            "card": "card-" + rows["CUSTOMER_ID"].astype(str),
            "time": rows["time"],
            "amount": rows["TX_CENTS"] / 100,
            "terminal": "terminal-" + rows["TERMINAL_ID"].astype(str),
        }
    )
    stolen = frame.assign(kind=rows["TX_FRAUD_SCENARIO"])
    stolen = stolen[(rows["TX_FRAUD"] == 1) & (frame["time"] >= _CARDS_UNTIL)]
    by_day = stolen.groupby(["card", "kind", stolen["time"].dt.date])
    faults = [_fraud(card, kind, part) for (card, kind, _), part in by_day]
    config = {
        "kind": "transaction",
        "description": "Fraud Detection Handbook, July 2018: 5,000 customers' card payments.",
        "fields": {
            "id": "transaction_id",
            "time": {"column": "time"},
            "entity": "card",
            "amount": "amount",
            "unit": "EUR",
            "categories": ["terminal"],
        },
        "alert": {"false_alarms": "20/day", "merge": "1d"},
    }
    files = {f"{day}.parquet": part for day, part in frame.groupby(frame["time"].dt.date)}
    return Replay(config, _labels("cards", _CARDS_UNTIL, CARDS_MONTH[1], files, faults), files)


REPLAYS: dict[str, Callable[[Path], Replay]] = {"smd": smd, "skab": skab, "nab": nab, "cards": cards}


def _fraud(card: str, scenario: int, part: pd.DataFrame) -> Fault:
    first, last = part["time"].min().to_pydatetime(), part["time"].max().to_pydatetime()
    ids = tuple(part["transaction_id"])
    return Fault(
        card, f"scenario {scenario}", first, last + timedelta(seconds=1), ("amount", "terminal"), ids
    )


def _labels(
    stream: str,
    until: datetime,
    end: datetime,
    files: dict[str, pd.DataFrame],
    faults: list[Fault] | tuple[Fault, ...],
) -> Labels:
    lines = sum(len(frame) for frame in files.values())
    return Labels(stream=stream, normal_until=until, end=end, lines=lines, faults=tuple(faults))


def _spells(flags: Any) -> list[tuple[int, int]]:
    """Return the first and last row of every run of ones."""
    import numpy as np

    edges = np.diff(np.concatenate([[0], flags, [0]]))
    return list(
        zip(np.flatnonzero(edges == 1).tolist(), (np.flatnonzero(edges == -1) - 1).tolist(), strict=True)
    )


def _fault(entity: str, kind: str, time: pd.Series, spell: tuple[int, int], step: timedelta) -> Fault:
    first, last = (time.iloc[row].to_pydatetime() for row in spell)
    return Fault(entity, kind, first, last + step)
