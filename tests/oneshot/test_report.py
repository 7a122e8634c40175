"""The report is one page with everything in it; names in it are text, whatever they say."""

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from pipeline.oneshot.report import packed, render
from pipeline.oneshot.scenes import _thinned, scenes
from pipeline.oneshot.summary import moment
from pipeline.oneshot.verdict import verdict
from tests.oneshot import kit


def page(found, source="pumps.parquet"):
    return render(found, verdict(found), source=source)


def data(html):
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', html, re.S)[1])


class Visible(HTMLParser):
    def __init__(self):
        super().__init__()
        self.text, self.tags, self.addresses, self.inside = "", [], [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.inside = tag
        self.addresses += [v for k, v in attrs if k in ("src", "href", "action", "srcset")]

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside not in ("script", "style"):
            self.text += data + " "


def seen(html):
    reader = Visible()
    reader.feed(html)
    return reader


@pytest.mark.parametrize("name", ["one", "many", "cards"])
def test_the_page_holds_everything_and_fetches_nothing(name, request):
    html = page(request.getfixturevalue(name))
    reader = seen(html)
    assert reader.addresses == []
    assert not {"link", "img", "iframe", "object", "base"} & set(reader.tags)
    assert "default-src 'none'" in html
    assert "plotly.js v" in html
    assert 4e6 < len(html) < 10e6


def test_the_page_says_what_was_found_learned_and_how_the_threshold_came_about(one):
    text = seen(page(one)).text
    assert "flow was 2 where " in text
    assert "1,500 of 2,000 rows were learned from" in text
    assert moment(one.layout.clock, one.anomalies[0].first) in text
    assert "You can live with 1 false alarm a day" in text
    assert "Average precision" in text


def test_the_charts_hold_the_scores_and_the_signals_of_what_contributed(one):
    made = data(page(one))
    scene = made["scenes"][0]
    assert scene["signals"][0]["name"] == "flow"
    x, score = (
        np.frombuffer(base64.b64decode(scene[k]["data"]), f"<{scene[k]['type']}") for k in ("x", "score")
    )
    assert len(x) == len(score) == 2000
    assert score.tolist() == one.rows.score.tolist()
    assert np.diff(x).tolist() == [60_000.0] * 1999
    worst = made["anomalies"][0]
    assert x[0] < worst["from"] <= worst["to"] < x[-1]
    assert len(scene["labelled"]) == 1


def test_names_are_text_whatever_they_say(many):
    evil = '</script><script>alert(1)</script><img src=x onerror="alert(2)">'
    names = {k: evil if v == kit.STRANGE else v for k, v in many.layout.names.items()}
    anomalies = [
        replace(a, entity=evil, channels=tuple(replace(c, channel=evil) for c in a.channels))
        for a in many.anomalies
    ]
    layout = replace(many.layout, names=names, entities=[evil, "b", "c"], notes=(evil,))
    html = render(replace(many, layout=layout, anomalies=anomalies), None, source=evil)
    reader = seen(html)
    assert "<script>alert(1)" not in html
    assert reader.tags.count("script") == 3
    assert "img" not in reader.tags
    assert "alert(1)" in reader.text


def test_thinning_keeps_every_extreme_and_all_of_a_close_up():
    rng = np.random.default_rng(0)
    score, signal = rng.random(200_000), rng.normal(size=200_000)
    score[77_777], signal[123_456], signal[9] = 50, 40, -40
    kept = _thinned([score, signal], np.arange(5000, 5100))
    assert {77_777, 123_456, 9, 0, 199_999} <= set(kept.tolist())
    assert set(range(5000, 5100)) <= set(kept.tolist())
    assert len(kept) < 2000
    assert (np.diff(kept) > 0).all()


def test_numbers_survive_the_page():
    values = np.array([0.1, np.nan, -3e38, 1e300])
    back = np.frombuffer(base64.b64decode(packed(values)["data"]), "<f4")
    assert back[0] == np.float32(0.1)
    assert np.isnan(back[1])
    assert np.isposinf(back[3])


def test_a_table_without_an_anomaly_has_a_page_too(one):
    quiet = replace(one, anomalies=[])
    html = page(quiet)
    assert "No anomaly" in seen(html).text
    assert [s.entity for s in scenes(quiet, None)] == ["all"]
