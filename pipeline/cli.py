"""The command line: one verb per step, the same steps that Airflow runs.

Exit codes: 0 well; 2 somebody has to act; 3 a YAML file is wrong; 4 the data cannot be used;
5 no model yet; 6 a damaged model; 75 try again later.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline import __version__, log
from pipeline.errors import ConfigError, DataError, OffbeatError

app = typer.Typer(
    name="offbeat",
    help="Learns what normal looks like in your streams, and says when it stops. One YAML file a stream.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="A newcomer starts with: offbeat check, ingest, train, score, deliver, status.",
)
rejects = typer.Typer(no_args_is_help=True, help="Records that could not be stored, and why.")
app.add_typer(rejects, name="rejects")
alerts = typer.Typer(no_args_is_help=True, help="Who is told, and when.")
app.add_typer(alerts, name="alerts")
maintenance = typer.Typer(no_args_is_help=True, help="Planned work: what begins in it alerts nobody.")
app.add_typer(maintenance, name="maintenance")
out = Console()
err = Console(stderr=True)

Stream = Annotated[str, typer.Argument(help="Name of a file in configs/streams, without .yaml.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, for machines.")]
Start = Annotated[datetime | None, typer.Option("--from", help="From this time (UTC) on, inclusive.")]
End = Annotated[datetime | None, typer.Option("--to", help="Up to this time (UTC), exclusive.")]


Who = Annotated[str, typer.Option(help="Whose word it is; your login name when left out.", envvar="USER")]
Why = Annotated[str, typer.Option(help="Why; kept with it.")]


@app.callback()
def _start() -> None:
    log.configure(json=not sys.stderr.isatty())


def _open() -> Any:
    from pipeline.steps import Offbeat

    return Offbeat.open()


def _show(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(result, default=str) + "\n")
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    for key, value in result.items():
        table.add_row(key.replace("_", " "), _cell(value))
    out.print(table)


def _cell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _print_errors(errors: Sequence[ConfigError]) -> None:
    for error in errors:
        err.print(f"[red]✗[/] {escape(log.redact(str(error)))}", highlight=False, soft_wrap=True)


@app.command()
def check(as_json: Json = False) -> None:
    """Validate every YAML file; say file, line, key and what was expected for each mistake.

    A broken stream is disabled, alone; the exit code is then 3.
    """
    project = _open().project
    if as_json:
        errors = [str(error) for error in project.errors()]
        _show({"streams": sorted(project.streams), "broken": sorted(project.broken), "errors": errors}, True)
    else:
        for name, stream in sorted(project.streams.items()):
            out.print(
                f"[green]✓[/] {name} [dim]{stream.kind}, {stream.alert.false_alarms}[/]", highlight=False
            )
        _print_errors(project.errors())
    raise typer.Exit(3 if project.broken else 0)


@app.command()
def schema(
    folder: Annotated[Path, typer.Argument(help="Where to write.")] = Path("configs/schema"),
    reference: Annotated[Path | None, typer.Option(help="Also write the keys as Markdown, here.")] = None,
) -> None:
    """Write the JSON Schemas from which editors complete and check the YAML files."""
    from pipeline.config.reference import reference as keys
    from pipeline.config.schema import write_schemas

    for path in write_schemas(folder):
        out.print(str(path))
    if reference:
        reference.write_text(keys(), encoding="utf-8")
        out.print(str(reference))


@app.command()
def ingest(stream: Stream, as_json: Json = False) -> None:
    """Take what the source has and store it: each record once, bad ones in rejects with a reason.

    Can be killed at any moment and run again; position and rows are one commit.
    """
    _show(_open().ingest(stream), as_json)


@app.command()
def run(stream: Stream, as_json: Json = False) -> None:
    """Work on a stream as records come, until ended: ingest, score, flag, watch and deliver.

    The same steps as on a schedule, so that the scores are the same. Waits for what is away; can be killed at
    any moment and run again. Ctrl-C and SIGTERM end it when the work in hand is done.
    """
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    _show(_open().live(stream, over), as_json)


@app.command()
def train(
    stream: Stream,
    promote: Annotated[bool, typer.Option(help="Make it champion if it passes the gate.")] = True,
    as_json: Json = False,
) -> None:
    """Learn what normal looks like from the stream's history; log it to MLflow; judge it at the gate."""
    progress = None if as_json else _epoch_printer()
    _show(_open().train(stream, on_epoch=progress, promote=promote), as_json)


def _epoch_printer() -> Callable[[dict[str, Any]], None]:
    def show(epoch: dict[str, Any]) -> None:
        err.print(
            f"[dim]epoch {epoch['epoch']:>3}  loss {epoch['loss']:.5f}  held out {epoch['val_loss']:.5f}[/]",
            highlight=False,
        )

    return show


@app.command()
def tune(
    stream: Stream,
    trials: Annotated[
        int, typer.Option(min=1, help="Trials in all, those of earlier sessions included.")
    ] = 20,
    timeout: Annotated[str, typer.Option(help="End this session after so long: 30m, 2h.")] = "30m",
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Same seed: same faults, same search.")] = 7,
    anew: Annotated[bool, typer.Option("--new", help="Forget earlier trials; take today's history.")] = False,
    recommended: Annotated[
        Path | None, typer.Option("--out", help="Also write the YAML to a new file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Search for settings that find more faults, without labels; say which lines to put into the YAML.

    Each trial is judged by faults put into a copy of held-out data; the present settings are the first.
    Run it again and it goes on, also after a crash. The stream's own file is left alone.
    """
    from pipeline.tuning import show

    show.check_new(recommended)
    with show.progress(err, trials) as tell:
        told = _open().tune(
            stream, trials=trials, timeout=show.limit(timeout), seed=seed, anew=anew, tell=tell
        )
    if recommended:
        show.write_new(recommended, told["yaml"])
    if as_json:
        _show(told, True)
        return
    for table in show.tables(told):
        out.print(table, "")
    if (left := trials - told["trials"]) > 0:
        out.print(f"the time was over with {left} trials left: run it again to go on\n", highlight=False)
    out.print(escape(f"{told['verdict']}\n\n{told['yaml']}"), highlight=False, soft_wrap=True)


@app.command()
def score(
    stream: Stream,
    start: Start = None,
    end: End = None,
    silent: Annotated[bool, typer.Option(help="Record anomalies, alert nobody.")] = False,
    as_json: Json = False,
) -> None:
    """Score what is new with the champion, turn flags into anomalies, and queue their alerts.

    With --from or --to, score that time again, as a backfill does: silently.
    """
    result = _open().score_all(stream, start=start, end=end, silent=silent)
    _show(result, as_json)


@app.command()
def replay(
    stream: Stream,
    start: Annotated[datetime, typer.Option("--from", help="From this time (UTC) on, inclusive.")],
    end: Annotated[datetime, typer.Option("--to", help="Up to this time (UTC), exclusive.")],
    alert: Annotated[bool, typer.Option(help="Tell people of what they were not told.")] = False,
    as_json: Json = False,
) -> None:
    """Read a stretch of time again, score it with the champion, and say which anomalies change.

    What is missing is stored, what is known is not. Nobody is alerted unless asked; what people still have
    open and is none is taken back. Can be killed at any moment; run twice, it finds nothing the second time.
    """
    told = _open().replay(stream, start, end, alert=alert)
    if as_json:
        _show(told, True)
        return
    changes = told.pop("changes")
    _show({key: value for key, value in told.items() if value != ""}, False)
    if changes:
        out.print("", _changes(changes))


def _changes(changes: Sequence[dict[str, Any]]) -> Table:
    table = Table(box=None, header_style="bold")
    for column in ("change", "entity", "before", "after"):
        table.add_column(column)
    for each in changes:
        facts = (_facts(each[when]) for when in ("before", "after"))
        table.add_row(each["what"], escape(each["entity"]), *facts)
    return table


def _facts(anomaly: dict[str, Any] | None) -> str:
    if anomaly is None:
        return "-"
    start, end = (datetime.fromisoformat(anomaly[edge]) for edge in ("start", "end"))
    return f"{start:%Y-%m-%d %H:%M:%S} to {end:%Y-%m-%d %H:%M:%S} {anomaly['severity']}"


@app.command()
def detect(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="A .parquet, .csv or .csv.gz file.")],
    kind: Annotated[str, typer.Option(help="sensor or transaction.")] = "sensor",
    time: Annotated[str | None, typer.Option(help="Column of times, or a counter; else row numbers.")] = None,
    entity: Annotated[str | None, typer.Option(help="Column that names the machine or the card.")] = None,
    channels: Annotated[
        str | None,
        typer.Option(help="Sensors: columns to watch, with commas between; else all numeric."),
    ] = None,
    identity: Annotated[str | None, typer.Option("--id", help="Transactions: column of ids.")] = None,
    amount: Annotated[str | None, typer.Option(help="Transactions: column of amounts.")] = None,
    category: Annotated[
        list[str] | None, typer.Option(help="Transactions: a column such as the terminal; repeatable.")
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(help="Column of 0 and 1, or labels of `offbeat feedback --export`: judge by it."),
    ] = None,
    label_delay: Annotated[
        str | None, typer.Option(help="Transactions: labels this old may be learned from, such as 7d.")
    ] = None,
    train_rows: Annotated[int | None, typer.Option(min=1, help="Learn from the first so many rows.")] = None,
    train_from: Annotated[str | None, typer.Option(help="Learn from rows from this time on.")] = None,
    train_until: Annotated[str | None, typer.Option(help="Learn from rows before this time.")] = None,
    false_alarms: Annotated[
        str | None, typer.Option(help="How many you can live with: 1/day, 20/week, 1/1000 rows.")
    ] = None,
    preset: Annotated[str, typer.Option(help="fast, default or best.")] = "default",
    seed: Annotated[
        int, typer.Option(min=0, max=2**31 - 1, help="Same seed, same data, same machine: same scores.")
    ] = 7,
    scores: Annotated[Path | None, typer.Option("--out", help="Write a score for each row here.")] = None,
    report: Annotated[Path | None, typer.Option(help="Folder for report.html, a page to hand on.")] = None,
    as_json: Json = False,
) -> None:
    """Find what is anomalous in one file: no YAML, no Airflow, no MLflow.

    Learns what is normal from the file itself, or from a part of it, and scores every row.
    """
    from pipeline.models.process import start_early

    start_early()  # before our own imports, which take as long
    from pipeline.oneshot.command import asked, run

    ask = asked(
        kind=kind, time=time, entity=entity, channels=channels, id=identity, amount=amount,
        categories=tuple(category or ()), label=label, label_delay=label_delay, train_rows=train_rows,
        train_from=train_from, train_until=train_until, false_alarms=false_alarms, preset=preset, seed=seed,
    )  # fmt: skip
    log.configure(level=logging.WARNING)
    told = run(source, ask, out=scores, report=report, console=err)
    _show(told.numbers | ({"worst": told.worst, "notes": told.notes} if as_json else {}), as_json)
    for line in () if as_json else (*told.worst, *told.notes):
        out.print(escape(line), highlight=False, soft_wrap=True)


@app.command()
def receive(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8090,
    certificate: Annotated[Path | None, typer.Option(help="For TLS: file with the certificate.")] = None,
    key: Annotated[Path | None, typer.Option(help="For TLS: file with its key.")] = None,
) -> None:
    """Take records over HTTP for the streams whose source is `http`: POST /streams/NAME.

    Answers when they are on the disk; `offbeat ingest` takes them from there.
    """
    import uvicorn

    from pipeline.receive import application

    work = _open()
    uvicorn.run(
        application(work.project.streams, work.home.project), host=host, port=port, access_log=False,
        log_level="warning", ssl_certfile=certificate, ssl_keyfile=key, limit_concurrency=500,
    )  # fmt: skip


@app.command()
def web(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8100,
    certificate: Annotated[Path | None, typer.Option(help="For TLS: file with the certificate.")] = None,
    key: Annotated[Path | None, typer.Option(help="For TLS: file with its key.")] = None,
    hashed: Annotated[
        bool, typer.Option("--hash", help="Ask for a password, print what stands for it in the list.")
    ] = False,
) -> None:
    """Serve the Anomalies page, and its JSON API below /api/v1.

    Who may log in stands in OFFBEAT_WEB_USERS: a YAML list of name, role (viewer or operator) and password or
    token, as --hash prints them; or the path of a file with it. Airflow shows the page too, by its own login.
    """
    from pipeline.web import people

    if hashed:
        secret = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
        sys.stdout.write(f"password: {people.password_hash(secret)}\ntoken: {people.token_hash(secret)}\n")
        return
    import uvicorn

    from pipeline.web import Keeper, application

    page = application(Keeper(_open), users=people.Users.read())
    uvicorn.run(
        page, host=host, port=port, access_log=False, log_level="warning", server_header=False,
        ssl_certfile=certificate, ssl_keyfile=key, limit_concurrency=500,
    )  # fmt: skip


@app.command()
def watch(stream: Stream, as_json: Json = False) -> None:
    """Look for what a model cannot see: silent machines, a late source, stuck channels, limits broken.

    Needs no model. Run it after `score`, and on a schedule of its own: silence comes without records.
    """
    _show(_open().watch(stream), as_json)


@app.command()
def deliver(as_json: Json = False) -> None:
    """Send the alerts that are due. At least once each, under a key that never changes."""
    _show(_open().deliver(), as_json)


@app.command()
def rollback(
    stream: Stream, reason: Annotated[str, typer.Option(help="Why; kept with the version.")] = "by hand"
) -> None:
    """Make the champion before this one champion again; a second rollback undoes the first."""
    champion = _open().registry.rollback(stream, reason)
    out.print(f"{stream}: version {champion.version} is champion")


@app.command()
def maintain(stream: Stream, as_json: Json = False) -> None:
    """Compact a stream's tables, drop what is older than its retention, vacuum."""
    _show(_open().maintain(stream), as_json)


@app.command()
def status(as_json: Json = False) -> None:
    """Show every stream: how fresh, how far behind its source, how many records, which champion.

    `-` stands where a source cannot say how far it is ahead, or does not answer within two seconds.
    """
    offbeat = _open()
    rows = offbeat.status()
    if as_json:
        sys.stdout.write(json.dumps(rows, default=str) + "\n")
        return
    _print_errors(offbeat.project.errors())
    table = Table(box=None, header_style="bold")
    shown = [name for name in (rows[0] if rows else ("stream",)) if name not in ("lag_unit", "rejects")]
    for column in shown:
        table.add_column(column.replace("_", " "), justify="left" if column == "stream" else "right")
    for row in rows:
        lag = f"{row['lag']:,} {row['lag_unit']}" if row["lag"] is not None else "-"
        table.add_row(*(_cell(lag if name == "lag" else row[name]) for name in shown))
    out.print(table)
    for row in rows:
        for reason, count in row["rejects"].items():
            told = f"{row['stream']} rejects: {count:,} × {escape(reason)}"
            out.print(told, highlight=False, soft_wrap=True)


@app.command()
def anomalies(
    stream: Annotated[str | None, typer.Argument(help="Only this stream.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 20,
    as_json: Json = False,
) -> None:
    """List anomalies: how severe, open or closed, what found it, when, where, which channels."""
    rows = _open().anomalies(stream, limit=limit)
    if as_json:
        sys.stdout.write(json.dumps(rows, default=str) + "\n")
        return
    for row in rows:
        head = f"{row['severity']:<8} {row['status']:<6} {row['kind']:<14}"
        said = "  ".join(each for each in (_said(row), row["id"]) if each)
        out.print(f"{head} {escape(row['line'])}  [dim]{escape(said)}[/]", highlight=False, soft_wrap=True)
        if row["revision"]:
            out.print(f"{'':<31}[dim]{escape(row['revision'])}[/]", highlight=False, soft_wrap=True)


def _said(row: dict[str, Any]) -> str:
    """Say what people said of an anomaly: `false alarm, says Ann`; `snoozed until …, says Ann`."""
    words = [row["answer"].replace("_", " ")] if row["answer"] else []
    if row["snoozed_until"]:
        words[0] += f" until {row['snoozed_until'][:16]}Z"
    if row["verdict"] not in ("", row["answer"]):
        words.append(row["verdict"].replace("_", " "))
    words += [f"says {row['answered_by']}"] if row["answer"] else []
    return ", ".join([*words, *(["in maintenance"] if row["maintenance"] else [])])


@app.command()
def feedback(
    anomaly: Annotated[str | None, typer.Argument(help="Id, as `offbeat anomalies` shows it.")] = None,
    answer: Annotated[
        str | None,
        typer.Argument(help="acknowledged, snoozed, resolved, false-alarm, confirmed, or reopened."),
    ] = None,
    who: Who = "",
    why: Why = "",
    until: Annotated[datetime | None, typer.Option(help="Of a snooze: its end (UTC).")] = None,
    export: Annotated[Path | None, typer.Option(help="Write a stream's labels here, as Parquet.")] = None,
    stream: Annotated[str | None, typer.Option(help="Of --export: which stream.")] = None,
    as_json: Json = False,
) -> None:
    """Answer an anomaly; or, with --export and --stream, write what people said as labels.

    `resolved` and `false-alarm` close it. `false-alarm` and `confirmed` are what later trainings learn from;
    `reopened` takes the answer that stands back.
    """
    if export is not None:
        if anomaly or answer or not stream:
            raise DataError("--export takes --stream and nothing else: it writes all labels of one stream")
        _show({"stream": stream, "labels": _export(_open().labels(stream), export)}, as_json)
        return
    if not (anomaly and answer):
        raise DataError("say which anomaly and what of it: offbeat feedback ANOMALY acknowledged")
    told = _open().answer(anomaly, answer.replace("-", "_"), who=who, why=why, until=until)
    shown = ("stream", "entity", "status", "answer", "answered_by", "snoozed_until", "verdict", "news")
    _show(told if as_json else {key: told[key] for key in shown}, as_json)


def _export(labels: Any, path: Path) -> int:
    """Write labels whole or not at all; return how many."""
    import pyarrow.parquet as pq

    draft = path.with_name(f".{path.name}.part")
    pq.write_table(labels, draft)
    draft.replace(path)
    return len(labels)


@app.command()
def missed(
    stream: Stream,
    entity: Annotated[str, typer.Argument(help="The machine or the card.")],
    start: Annotated[datetime, typer.Option("--from", help="When the fault began (UTC).")],
    end: Annotated[datetime, typer.Option("--to", help="When it was over (UTC).")],
    who: Who = "",
    why: Why = "",
    as_json: Json = False,
) -> None:
    """Say that a fault was not found: later trainings leave it out of what is normal."""
    _show(_open().missed(stream, entity, start, end, who=who, why=why), as_json)


@maintenance.command("add")
def maintenance_add(
    stream: Stream,
    entities: Annotated[list[str], typer.Argument(help="Patterns of names: pump-7, 'pump-*', '*'.")],
    start: Annotated[datetime, typer.Option("--from", help="From this time (UTC) on.")],
    end: Annotated[datetime, typer.Option("--to", help="Up to this time (UTC).")],
    who: Who = "",
    why: Why = "",
    as_json: Json = False,
) -> None:
    """Plan work on some entities: what begins meanwhile alerts nobody, unless it outlasts the work."""
    _show(_open().maintenance(stream, entities, start, end, who=who, why=why), as_json)


@maintenance.command("list")
def maintenance_list(stream: Stream, as_json: Json = False) -> None:
    """List maintenance windows: id, entities, from when to when, who and why."""
    rows = _open().maintenances(stream)
    if as_json:
        sys.stdout.write(json.dumps(rows, default=str) + "\n")
        return
    for row in rows:
        gone = f"  [dim]cancelled by {escape(row['cancelled_by'])}[/]" if row["cancelled_by"] else ""
        span, names = f"{row['start'][:16]}Z to {row['end'][:16]}Z", " ".join(row["entities"])
        said = escape(f"{row['id']}  {span}  {names}  {row['who']}: {row['why']}".rstrip(": "))
        out.print(said + gone, highlight=False, soft_wrap=True)


@maintenance.command("cancel")
def maintenance_cancel(
    window: Annotated[str, typer.Argument(help="Id, as `list` shows it.")],
    who: Who = "",
    as_json: Json = False,
) -> None:
    """End a maintenance window now, or keep it from beginning."""
    _show(_open().cancel_maintenance(window, who), as_json)


@alerts.command("test")
def alerts_test(
    stream: Annotated[
        str | None, typer.Argument(help="Left out: say it of all streams, send nothing.")
    ] = None,
    receiver: Annotated[str, typer.Option(help="Send to this one only, wherever the routes lead.")] = "",
    entity: Annotated[str, typer.Option(help="Of the sample; routes and labels may go by it.")] = "",
    severity: Annotated[str, typer.Option(help="low, medium, high or critical.")] = "high",
    kind: Annotated[
        str, typer.Option(help="reconstruction, silence, late, flatline, range.")
    ] = "reconstruction",
    send: Annotated[bool, typer.Option(help="Send a sample, and its end; else only say who is told.")] = True,
    as_json: Json = False,
) -> None:
    """Say who would be told of an anomaly, and when; send each of them a sample, marked as a test.

    The sample takes the real route to the real receivers, and is recorded nowhere.
    """
    offbeat = _open()
    names = [stream] if stream else sorted(offbeat.project.streams)
    told = [
        {"stream": name, **row}
        for name in names
        for row in offbeat.rehearse(
            name, receiver=receiver, entity=entity, severity=severity, kind=kind, send=send and bool(stream)
        )
    ]
    if as_json:
        sys.stdout.write(json.dumps(told) + "\n")
    else:
        table = Table(box=None, header_style="bold")
        for column in ("stream", "receiver", "when", "sent"):
            table.add_column(column)
        for row in told:
            table.add_row(*(escape(str(row[column])) for column in ("stream", "receiver", "when", "sent")))
        out.print(table)
    raise typer.Exit(75 if any(str(row["sent"]).startswith("no") for row in told) else 0)


@rejects.command("list")
def rejects_list(
    stream: Stream,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    as_json: Json = False,
) -> None:
    """List rejected records: source, line, reason, the raw record."""
    rows = _open().rejects(stream, limit=limit)
    if as_json:
        sys.stdout.write(json.dumps(rows, default=str) + "\n")
        return
    for row in rows:
        out.print(
            f"{row['reject']}  {row['source']}:{row['line'] or row['position']}  {row['reason']}\n"
            f"    [dim]{row['raw']!r}[/]",
            highlight=False,
            soft_wrap=True,
        )


@rejects.command("replay")
def rejects_replay(stream: Stream, as_json: Json = False) -> None:
    """Read all rejects again under today's config; what still fails stays rejected."""
    _show(_open().reread(stream), as_json)


@rejects.command("discard")
def rejects_discard(
    stream: Stream,
    ids: Annotated[list[str] | None, typer.Argument(help="Of rejects, as `list` shows them.")] = None,
    reason: Annotated[str | None, typer.Option(help="All whose reason holds this text.")] = None,
    as_json: Json = False,
) -> None:
    """Remove rejects for good: what nobody will mend."""
    _show(_open().discard(stream, ids=ids or (), reason=reason), as_json)


@app.command()
def metrics(
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Serve them here, until ended.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
) -> None:
    """Print every stream in numbers, as Prometheus reads them; with --port, serve them at /metrics.

    Records by outcome, late ones, rejects by reason, newest record, lag at the source, how far and when
    scored, champion, open anomalies.
    """
    from pipeline.steps import metrics

    if port is None:
        sys.stdout.write(metrics.text(_open))
        return
    from prometheus_client import start_http_server

    _, thread = start_http_server(port, host, metrics.registry(_open))
    thread.join()


@app.command()
def simulate(
    folder: Annotated[Path, typer.Argument(help="Where the feeds are written.")] = Path("data"),
    days: Annotated[int, typer.Option(min=2, help="Days of history.")] = 21,
    seed: Annotated[int, typer.Option(help="Same seed, same data.")] = 7,
) -> None:
    """Write the feeds of the demo: a pump station and a card stream, with labelled faults."""
    from pipeline.simulate import write_history

    write_history(folder, days=days, seed=seed)
    out.print(f"wrote {folder}/")


@app.command()
def demo(
    data: Annotated[Path | None, typer.Option(help="Folder of public labelled data; else simulated.")] = None,
    days: Annotated[int, typer.Option(min=8, help="Days to simulate.")] = 21,
    seed: Annotated[int, typer.Option(help="Same seed, same data.")] = 7,
    pictures: Annotated[Path | None, typer.Option(help="Also write the README's pictures here.")] = None,
) -> None:
    """Take streams with known faults from raw records to delivered alerts, through Airflow and MLflow.

    Everything it makes lies in `demo/` (on real data `demo-real/`) below Offbeat's home.
    """
    from pipeline.demo import Options, run
    from pipeline.home import Home

    log.configure(level=logging.WARNING)
    raise typer.Exit(run(Options(data, days, seed, pictures), Home.find()))


@app.command()
def up(
    speedup: Annotated[float, typer.Option(min=0.1, help="Simulated seconds in one second.")] = 60,
) -> None:
    """Leave Airflow, MLflow and a live simulator running, on what `offbeat demo` made."""
    from pipeline.demo.live import up as start
    from pipeline.home import Home

    for line in start(Home.find(), speedup=speedup):
        out.print(line, highlight=False)


@app.command()
def down() -> None:
    """Stop what `offbeat up` or a demo left running."""
    from pipeline.demo.live import down as stop
    from pipeline.home import Home

    out.print(f"stopped: {', '.join(stop(Home.find())) or 'nothing was running'}")


@app.command()
def version() -> None:
    """Print Offbeat's version."""
    out.print(__version__)


def main() -> None:
    """Run the command line; an error Offbeat raises on purpose is one line and an exit code."""
    try:
        app()
    except ConfigError as error:
        _print_errors(getattr(error, "errors", (error,)))
        sys.exit(error.exit_code)
    except OffbeatError as error:
        err.print(
            f"[red]{type(error).__name__}[/]: {escape(log.redact(str(error)))}",
            highlight=False,
            soft_wrap=True,
        )
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
