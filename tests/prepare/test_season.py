"""Promises of seasons: what comes back is found and taken out, what does not is left alone."""

import json

import numpy as np
import pytest

from pipeline.errors import BundleError
from pipeline.prepare import load_preparer, new_preparer
from pipeline.prepare.season import Piece, Season, fit_season

MINUTE, HOUR = 60_000_000, 3_600_000_000
DAY = 24
"""Cells of an hour."""


def course(cells, period=DAY):
    return np.sin(2 * np.pi * cells / period) + 0.5 * np.cos(6 * np.pi * cells / period)


def piece(cells, period=DAY, noise=0.2, seed=0, first=0):
    rng = np.random.default_rng(seed)
    at = np.arange(first, first + cells)
    return Piece.of(at, (course(at, period) + noise * rng.normal(size=cells))[:, None])


def found(pieces, step=HOUR, least=8):
    return fit_season(pieces, step, least)


def hourly(make, hours, *channels, entity="a"):
    return make.readings(entity, np.arange(hours) * 3600, *channels)


@pytest.mark.parametrize("period", [17, 24, 90, 300, 700])
def test_the_period_is_found_and_its_course(period):
    season = found([piece(max(6 * period, 300), period)], MINUTE)
    assert abs(season.period - period) <= 0.02 * period
    off = season.at(np.arange(period))[:, 0] - course(np.arange(period), period)
    assert np.sqrt(np.mean(off**2)) < 0.25


def test_a_period_that_is_no_whole_number_of_cells_does_not_drift():
    season = found([piece(5000, 125.66)], MINUTE, least=32)
    assert abs(season.period - 125.66) < 0.05
    later = np.arange(10_000, 10_200)
    assert np.corrcoef(season.at(later)[:, 0], course(later, 125.66))[0, 1] > 0.97


def test_a_period_of_nearly_a_day_is_a_day_and_another_is_not():
    assert found([piece(8 * 1440, 1445, noise=0.1)], MINUTE, least=64).period == 1440
    assert abs(found([piece(8 * 1560, 1560, noise=0.1)], MINUTE, least=64).period - 1560) < 12


def test_noise_a_walk_and_a_trend_have_no_season():
    rng = np.random.default_rng(1)
    for values in (rng.normal(size=2000), np.cumsum(rng.normal(size=2000)), np.linspace(0, 5, 2000)):
        assert found([Piece.of(np.arange(2000), values[:, None])]) is None


def test_what_changed_its_course_has_no_season():
    turned = np.concatenate([course(np.arange(600)), -course(np.arange(400)), course(np.arange(400))])
    assert found([Piece.of(np.arange(1400), turned[:, None])]) is None


def test_too_short_a_history_has_no_season():
    assert found([piece(150)]) is None


def test_what_is_shorter_than_least_is_left_to_the_window():
    season = found([piece(2000)], least=40)
    assert season.period >= 40
    assert season.period % DAY == 0


def test_gaps_and_wild_values_do_not_hide_it():
    rng = np.random.default_rng(2)
    whole = piece(1200)
    keep = rng.random(1200) > 0.3
    values = whole.values.copy()
    values[rng.random(1200) < 0.005] = 1e6
    season = found([Piece.of(whole.cell[keep], values[keep])])
    assert season.period == DAY
    assert np.corrcoef(season.at(np.arange(DAY))[:, 0], course(np.arange(DAY)))[0, 1] > 0.9


def test_each_channel_is_judged_on_its_own():
    rng, cells = np.random.default_rng(3), np.arange(1000)
    both = np.column_stack([rng.normal(size=1000), course(cells) + 0.2 * rng.normal(size=1000)])
    season = found([Piece.of(cells, both)])
    assert season.channels.tolist() == [1]
    assert season.course.shape == (DAY, 1)


def test_one_channel_with_a_season_among_forty_is_found():
    rng, cells = np.random.default_rng(9), np.arange(1000)
    values = rng.normal(size=(1000, 40))
    values[:, 7] = course(cells) + 0.2 * rng.normal(size=1000)
    season = found([Piece.of(cells, values)])
    assert (season.period, season.channels.tolist()) == (DAY, [7])


def test_entities_share_a_season_and_the_order_of_them_does_not_matter():
    pieces = [piece(500, seed=s, first=s * 7) for s in range(4)]
    one, two = found(pieces), found(pieces[::-1])
    assert one.period == two.period == DAY
    assert np.allclose(one.course, two.course, atol=1e-12)


def test_a_channel_with_a_season_has_a_feature_without_it(make):
    rng, hours = np.random.default_rng(4), np.arange(1200)
    table = hourly(make, 1200, 50 + 10 * course(hours) + rng.normal(size=1200), rng.normal(size=1200))
    preparer = new_preparer(make.sensor(2, step=3600, length=8)).fit(table)
    assert preparer.features_.names == ("c0", "c1", "c0 without season")
    assert preparer.features_.channel_of.tolist() == [0, 1, 0]
    assert [aspect.tolist() for aspect in preparer.features_.aspects] == [[0, 1], [2, 1]]
    (series,) = preparer.transform(table)
    day = series.values[:1176, 2].reshape(-1, DAY).mean(axis=0)
    assert np.abs(day).max() < 0.6 < np.abs(series.values[:1176, 0].reshape(-1, DAY).mean(axis=0)).max()
    assert series.mask.shape == series.values.shape
    assert np.allclose(preparer.expected(series, series.values), series.actual, atol=1e-4)


def test_a_value_of_the_wrong_hour_stands_out_without_the_season_alone(make):
    hours = np.arange(1200)
    usual = 10 * course(hours) + 0.3 * np.random.default_rng(5).normal(size=1200)
    preparer = new_preparer(make.sensor(1, step=3600, length=8)).fit(hourly(make, 1000, usual[:1000]))
    odd = usual.copy()
    odd[1100] = usual[1100 + DAY // 2]
    (series,) = preparer.transform(hourly(make, 1200, odd))
    measured, left = np.abs(series.values[1000:]).T
    assert left[100] == left.max() > 4 * np.delete(left, 100).max()
    assert measured[100] < np.quantile(measured, 0.95)


def test_commands_have_no_season_unless_there_is_nothing_else(make):
    hours = np.arange(1200)
    switch = (hours % DAY < 8).astype(float)
    noisy = np.random.default_rng(6).normal(size=1200)
    stream = make.sensor(2, step=3600, length=8)
    assert new_preparer(stream).fit(hourly(make, 1200, switch, noisy)).season_ is None
    alone = new_preparer(make.sensor(1, step=3600, length=8)).fit(hourly(make, 1200, switch))
    assert alone.season_.period == DAY


def test_a_slice_has_the_season_of_the_whole(make):
    rng, hours = np.random.default_rng(7), np.arange(800)
    table = hourly(make, 800, course(hours) + 0.1 * rng.normal(size=800))
    preparer = new_preparer(make.sensor(1, step=3600, length=8)).fit(table)
    start = 611 * HOUR
    part = preparer.transform(make.cut(table, start - 20 * HOUR))
    assert make.by_row(part, start) == make.by_row(preparer.transform(table), start)


def test_a_season_survives_json(make):
    table = hourly(make, 800, course(np.arange(800)) + 0.1 * np.random.default_rng(8).normal(size=800))
    stream = make.sensor(1, step=3600, length=8)
    fitted = new_preparer(stream).fit(table)
    restored = load_preparer(stream, json.loads(json.dumps(fitted.to_dict())))
    assert make.by_row(fitted.transform(table)) == make.by_row(restored.transform(table))
    assert restored.features_.names == fitted.features_.names


@pytest.mark.parametrize(
    "damage",
    [
        {"period": 0},
        {"period": float("nan")},
        {"period": "day"},
        {"channels": [1]},
        {"channels": [0, 0]},
        {"channels": []},
        {"course": [[np.nan]]},
        {"course": []},
        {"course": [[1.0, 2.0]]},
        {"course": [[1.0]] * 99},
    ],
)
def test_a_damaged_season_is_refused(make, damage):
    good = Season(DAY, np.array([0]), np.zeros((DAY, 1))).to_dict()
    assert Season.from_dict(good, 1).period == DAY
    with pytest.raises(BundleError, match="season"):
        Season.from_dict({**good, **damage}, 1)
    saved = new_preparer(make.sensor(1)).fit(make.readings("a", [0, 60], [1, 2])).to_dict()
    with pytest.raises(BundleError, match=r"scaling|season"):
        load_preparer(make.sensor(1), {**saved, "season": {**good, "left": {}}})


def test_an_infinite_or_missing_channel_has_no_season():
    nothing = np.full((500, 1), np.nan)
    assert found([Piece.of(np.arange(500), nothing)]) is None
    assert found([]) is None
