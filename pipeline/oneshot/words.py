"""The report's words: what was found, what was learned from, how the threshold came about.

In: what was found. Out: pieces of HTML, every name in them escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from pipeline import __version__
from pipeline.alerts.text import clean, number, span
from pipeline.config.models import format_duration
from pipeline.evaluation import Figures
from pipeline.oneshot.anomalies import Anomaly, lasted, sentence
from pipeline.oneshot.clock import Clock
from pipeline.oneshot.detect import Found
from pipeline.oneshot.summary import budget, moment, when
from pipeline.scoring import micros


def parts(found: Found, figures: Figures | None, scenes: Sequence[str], most: int) -> dict[str, str]:
    """Return every piece of text that the page's template names."""
    return {
        "lead": _lead(found),
        "tiles": _tiles(found, figures),
        "notes": "".join(f'<p class="note">{escape(note)}</p>' for note in found.layout.notes),
        "reading": _reading(found, scenes),
        "anomalies": _anomalies(found, scenes, most),
        "learned": _learned(found),
        "threshold": _threshold(found),
        "figures": _figures(found, figures) if figures else "",
        "footer": f"Made by Offbeat {__version__}. Everything on this page is inside it; nothing is fetched.",
    }


def _lead(found: Found) -> str:
    what, rows = len(found.anomalies), len(found.rows.score)
    things = "transactions" if found.ask.kind == "transaction" else "rows"
    of = f" of {len(found.layout.entities):,} entities" if len(found.layout.entities) > 1 else ""
    if not what:
        return f"<strong>No anomaly</strong> in {rows:,} {things}{of}: no score reached the threshold."
    worst = found.anomalies[0]
    who = f" in {escape(clean(worst.entity, 40))}" if found.ask.entity else ""
    return (
        f"<strong>{_count(what, 'anomaly', 'anomalies')}</strong> in {rows:,} {things}{of}. The worst{who}, "
        f"{escape(when(found, worst))}: {escape(sentence(worst, found.ask.kind))}."
    )


def _tiles(found: Found, figures: Figures | None) -> str:
    rows = found.rows
    tiles = [
        (f"{len(found.anomalies):,}", "anomalies", "alarm" if found.anomalies else ""),
        (f"{rows.score.max():,.3g}", "highest score; 1 is the threshold", ""),
        (_share(int(rows.flag.sum()), len(rows.score)), f"of {len(rows.score):,} rows flagged", ""),
        (f"{found.layout.train.sum():,}", "rows learned from", ""),
        (budget(found), "false alarms allowed", ""),
    ]
    if figures and figures.average_precision is not None:
        tiles.append((f"{figures.average_precision:.3f}", "average precision, by the labels", ""))
    return "".join(
        f'<div class="tile {kind}"><b>{escape(value)}</b><span>{escape(text)}</span></div>'
        for value, text, kind in tiles
    )


def _reading(found: Found, scenes: Sequence[str]) -> str:
    shaded = "Anomalies are shaded; the dotted line is the threshold. Drag to zoom, double-click to zoom out."
    several = f"The {len(scenes)} entities with the worst anomalies have a view each."
    labelled = ["Green bars under the score are the labels."] if found.ask.label else []
    return " ".join([shaded, *labelled, *([several] if len(scenes) > 1 else [])])


def _anomalies(found: Found, scenes: Sequence[str], most: int) -> str:
    if not found.anomalies:
        return "<p>None: no score reached 1.</p>"
    shown = found.anomalies[:most]
    several = found.ask.entity is not None
    heads = ["#", "Severity", "When", *(["Where"] if several else []), "Lasted", "Score", "What was wrong"]
    numeric = {"#", "Score"}
    head = "".join(f"<th{' class=number' if h in numeric else ''}>{h}</th>" for h in heads)
    places = set(scenes)
    number_of = _numbering(found, places)
    rows = "".join(
        _row(found, place, anomaly, several, number_of.get(place)) for place, anomaly in enumerate(shown)
    )
    left = len(found.anomalies) - len(shown)
    more = f"<p>And {left:,} more, in the table of scores.</p>" if left else ""
    click = '<p class="hint">Choose one to zoom in on it.</p>'
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'{click}<div class="list">{table}</div>{more}'


def _numbering(found: Found, places: set[str]) -> dict[int, int]:
    """Return the number that the page's script knows an anomaly by: those of entities that are drawn."""
    drawn = [rank for rank, anomaly in enumerate(found.anomalies) if anomaly.entity in places]
    return {rank: at for at, rank in enumerate(drawn)}


def _row(found: Found, place: int, anomaly: Anomaly, several: bool, at: int | None) -> str:
    clock = found.layout.clock
    length = _lasted(found, anomaly)
    name = f"<small>{escape(clean(anomaly.id, 60))}</small>" if anomaly.id else ""
    who = f'<td class="who">{escape(clean(anomaly.entity, 60))}{name}</td>' if several else ""
    go = f' data-scene data-number="{at}" tabindex="0"' if at is not None else ""
    return (
        f'<tr{go}><td class="number">{place + 1}</td>'
        f'<td><span class="pill {anomaly.severity}">{anomaly.severity}</span></td>'
        f'<td class="when">{escape(moment(clock, anomaly.first))}</td>{who}'
        f'<td class="when">{escape(length)}</td><td class="number">{anomaly.score:,.3g}</td>'
        f"<td>{escape(sentence(anomaly, found.ask.kind))}</td></tr>"
    )


def _lasted(found: Found, anomaly: Anomaly) -> str:
    if found.ask.kind == "transaction":
        return _count(anomaly.rows, "transaction", "transactions")
    if not found.layout.clock.real:
        return _count(anomaly.rows, "row", "rows")
    length = lasted(anomaly, found.layout)
    return span(length) if length else "one row"


def _learned(found: Found) -> str:
    layout, learned = found.layout, found.learned
    trained, clock = learned.trained[""], layout.clock
    rows = np.flatnonzero(layout.train)
    first, last = rows[np.argmin(clock.value[rows])], rows[np.argmax(clock.value[rows])]
    names = [layout.names[c] for c in found.stream.channels]
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    shown = ", ".join(clean(n, 40) for n in names[:12]) + more
    all_of_it = "All rows were" if layout.train.all() else f"{len(rows):,} of {len(layout.train):,} rows were"
    delay = found.ask.label_delay
    labels = f"Labels were used, {format_duration(delay)} late." if delay else "No label was used."
    text = (
        f"{all_of_it} learned from, {moment(clock, int(first))} to {moment(clock, int(last))}. {labels} "
        "An LSTM autoencoder learned to say what each row should be like from the rows about it; a row "
        "that is far from that is anomalous."
    )
    facts = [
        ("Channels", shown),
        ("Windows", f"{learned.windows:,} of {found.stream.window.length} rows"),
        *_grid(found),
        (
            "Training",
            f"{trained.epochs} epochs, {trained.seconds:,.0f} s; best was epoch {trained.best_epoch}",
        ),
        ("Model", f"{trained.parameters:,} weights; preset {found.ask.preset}, seed {found.ask.seed}"),
    ]
    return f"<p>{escape(text)}</p>{_facts(facts)}"


def _grid(found: Found) -> list[tuple[str, str]]:
    if found.stream.kind != "sensor":
        return []
    step = found.stream.grid.step
    if not found.layout.clock.real:
        return [("Step", number(step.total_seconds()))]
    return [("Step", span(step) if step.total_seconds() >= 1 else f"{step.total_seconds():g} s")]


def _threshold(found: Found) -> str:
    layout, learned = found.layout, found.learned
    kept = layout.train & (layout.time >= micros(learned.since))
    known = learned.detector.diagnostics
    since = _moment_of(layout.clock, layout.time, micros(learned.since))
    text = (
        f"You can live with {_allowed(found)}. The latest part of what was learned from, "
        f"{int(kept.sum()):,} rows{since}, was kept back from training. How far its rows are from what was "
        "expected says how far normal rows stray; the tail of that gives the level that they would cross "
        "as often as allowed. That level is a score of 1."
    )
    facts = [("Kept back", f"{int(kept.sum()):,} rows")]
    if "held_out_alarms" in known:
        facts.append(("Alarms in them", f"{known['held_out_alarms']:,.0f}"))
    if known.get("trimmed"):
        bursts = _count(int(known["trimmed"]), "burst", "bursts")
        facts.append(("Left out", f"{bursts} too wild to be normal"))
    if known.get("overrun", 1.0) > 1:
        many = f"{known['overrun']:.2g} alarms came for one expected"
        facts.append(("Drift", f"{many}: the level is that much stricter"))
    return f"<p>{escape(text)}</p>{_facts(facts)}"


def _allowed(found: Found) -> str:
    """Say the budget in a sentence: `1 false alarm a day`, `one false alarm in 1,000 rows`."""
    rate = found.stream.alert.false_alarms
    if not found.layout.clock.real:
        text = budget(found)
        return f"1 false alarm in {text[2:]}" if text.startswith("1/") else f"{text} false alarms"
    period = str(rate).partition("/")[2]
    a = "an" if period == "hour" else "a"
    return f"{rate.count:g} false {'alarm' if rate.count == 1 else 'alarms'} {a} {period}"


def _moment_of(clock: Clock, time: np.ndarray, since: int) -> str:
    later = np.flatnonzero(time >= since)
    if not len(later):
        return ""
    return f" from {moment(clock, int(later[np.argmin(clock.value[later])]))} on"


def _figures(found: Found, figures: Figures) -> str:
    scope = "all rows" if found.layout.train.all() else "the rows that were not learned from"
    facts = [
        ("Judged", f"{figures.rows:,} rows, {figures.anomalous:,} labelled anomalous: {scope}"),
        ("Average precision", _figure(figures.average_precision)),
        ("VUS-PR", _figure(figures.vus_pr)),
        ("Event F1", f"{_figure(figures.event_f1)}: {figures.found} of {figures.events} events found, "
                     f"{_count(figures.false_alarms, 'false alarm', 'false alarms')}"),
    ]  # fmt: skip
    if figures.false_alarms_a_day is not None:
        facts.append(("False alarms a day", f"{figures.false_alarms_a_day:.3g}"))
    return f'<section class="card"><h2>How well, by the labels</h2>{_facts(facts)}</section>'


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts) + "</dl>"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _share(part: int, whole: int) -> str:
    share = part / whole
    return f"{share:.2%}" if 0 < share < 0.1 else f"{share:.0%}"


def _count(many: int, one: str, more: str) -> str:
    return f"{many:,} {one if many == 1 else more}"
