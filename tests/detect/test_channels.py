"""Many channels, and views of them, in one score: commands, constants, quiet and wild ones."""

import numpy as np
import pytest

from pipeline.detect import Detector

ROWS, AT, LENGTH = 9000, 6000, 200
WILD = 1e6


def noise(seed, rows, channels):
    return np.random.default_rng(seed).normal(size=(rows, channels)) ** 2


def commanded(sim, slack):
    """Two measured channels, and one whose command steps now and then."""
    return sim.fitted(with_steps(noise(0, 20_000, 3), slack), slack=[0.0, 0.0, slack])


def with_steps(errors, slack):
    """The last channel errs by a step, which nobody foresaw, every fifty rows; by nothing else."""
    errors[:, 2] = 0
    errors[::50, 2] = (slack / 3) ** 2
    return errors


def test_a_quiet_channels_small_jump_counts_as_much_as_a_noisy_ones_big_one(sim):
    loud = np.array([1.0, 0.1, 5.0])
    detector = sim.fitted(noise(5, 20_000, 3) * loud**2)
    scores = []
    for channel in range(3):
        errors = noise(6, 600, 3) * loud**2
        errors[300:, channel] = (8 * loud[channel]) ** 2
        scored = sim.judged(detector, errors)
        assert scored.flag[310:].all()
        assert (scored.share[310:].argmax(axis=1) == channel).all()
        scores.append(scored.score[310:].mean())
    assert max(scores) < 1.1 * min(scores)


@pytest.mark.parametrize("slack", [0.5, 6.0])
def test_a_commands_own_steps_raise_no_score(sim, slack):
    detector = commanded(sim, slack)
    errors = with_steps(noise(1, ROWS, 3), slack)
    quiet = errors.copy()
    quiet[:, 2] = 0
    steps, without = sim.judged(detector, errors), sim.judged(detector, quiet)
    for name in ("score", "raw", "share", "flag"):
        np.testing.assert_array_equal(getattr(steps, name), getattr(without, name))
    errors[:, 2] = (0.99 * slack) ** 2  # it toggles all the time
    np.testing.assert_array_equal(sim.judged(detector, errors).score, without.score)


def test_a_third_value_of_a_command_is_found_and_named(sim):
    errors = with_steps(noise(1, ROWS, 3), 6.0)
    errors[AT : AT + LENGTH, 2] = 9.0**2
    scored = sim.judged(commanded(sim, 6.0), errors)
    assert scored.flag[AT + 20 : AT + LENGTH].all()
    assert (scored.share[AT : AT + LENGTH].argmax(axis=1) == 2).all()
    assert not scored.flag[AT - 2000 : AT].any()


def test_commands_thin_out_no_fault_of_what_is_measured(sim):
    slack = np.array([0.0, 0.0] + [6.0] * 30)
    held_out, later = noise(0, 20_000, 32), noise(1, ROWS, 32)
    later[AT : AT + LENGTH, 0] *= 9
    few = sim.judged(sim.fitted(held_out[:, :2]), later[:, :2])
    held_out[:, 2:], later[:, 2:] = 0, 0
    many = sim.judged(sim.fitted(held_out, slack=slack), later)
    np.testing.assert_allclose(many.score, few.score, rtol=1e-5)


def test_where_all_is_commands_they_are_what_is_watched(sim):
    held_out, later = noise(0, 20_000, 3), noise(1, ROWS, 3)
    later[AT : AT + LENGTH] *= 9
    watched = sim.judged(sim.fitted(held_out, slack=[6.0, 6.0, 6.0]), later)
    np.testing.assert_array_equal(watched.score, sim.judged(sim.fitted(held_out), later).score)


def test_a_gap_in_all_that_is_measured_leaves_a_command_no_score_of_its_own(sim):
    errors = with_steps(noise(1, 300, 3), 6.0)
    errors[100:200, :2] = np.nan
    assert (sim.judged(commanded(sim, 6.0), errors).score[120:200] < 1).all()


def constant(channels, moved):
    """The first channel never moved in training, and from row 1500 on it has."""
    held_out, later = noise(1, 20_000, channels), noise(2, ROWS, channels)
    held_out[:, 0] = later[:, 0] = 0
    later[1500:, 0] = moved
    return held_out, later


@pytest.mark.parametrize("channels", [4, 10, 38])
@pytest.mark.parametrize("moved", [0.04, 1.0, WILD])
def test_a_channel_constant_in_training_that_moves_is_found_and_named(sim, channels, moved):
    held_out, later = constant(channels, moved)
    scored = sim.judged(sim.fitted(held_out), later)
    assert not scored.flag[:1500].any()
    assert scored.flag[1520:1900].mean() > 0.95
    assert (scored.share[1500:].argmax(axis=1) == 0).mean() > 0.95


@pytest.mark.parametrize("channels", [10, 38])
@pytest.mark.parametrize("moved", [1.0, WILD])
def test_one_wild_constant_does_not_drown_the_rest(sim, channels, moved):
    held_out, later = constant(channels, moved)
    detector, calm = sim.fitted(held_out), later.copy()
    at_once, afterwards = slice(1600, 1600 + LENGTH), slice(AT, AT + LENGTH)
    for when in (at_once, afterwards):
        later[when, 1:] *= 9
    with_, without = sim.judged(detector, later), sim.judged(detector, calm)
    assert (with_.raw[at_once].mean()) > 1.1 * without.raw[at_once].mean()
    assert with_.flag[AT + 20 : AT + LENGTH].mean() > 0.9
    assert not without.flag[AT - 1000 :].any()


def test_a_channel_counts_for_at_most_thirty_times_its_usual_error(sim):
    detector = sim.fitted(noise(0, 20_000, 4))
    errors = np.tile(noise(1, 1, 4), (40, 1))
    scores = []
    for root in (10, 29, 1e3, 1e9):
        errors[:, 0] = (root * detector.scale_[0, 0]) ** 2
        scores.append(sim.judged(detector, errors).score[-1])
    assert scores[0] < scores[1] < scores[2] == scores[3]


def test_a_view_that_is_wild_everywhere_hides_no_fault_that_others_see(sim):
    held_out = np.stack([noise(seed, 20_000, 4) for seed in range(3)])
    later = np.stack([noise(seed, ROWS, 4) for seed in range(3, 6)])
    later[2, 1500:] = WILD
    detector, calm = sim.fitted(held_out), later.copy()
    at_once, afterwards = slice(1600, 1600 + LENGTH), slice(AT, AT + LENGTH)
    for when in (at_once, afterwards):
        later[:2, when] *= 9
    with_, without = detector.score(later), detector.score(calm)
    assert with_.raw[at_once].mean() > 1.05 * without.raw[at_once].mean()
    assert with_.flag[AT + 20 : AT + LENGTH].all()
    assert not without.flag[AT - 1000 :].any()


def test_a_view_that_never_says_anything_hides_nothing(sim):
    held_out, later = noise(0, 20_000, 4), noise(1, ROWS, 4)
    later[AT : AT + LENGTH] *= 4
    dumb = np.random.default_rng(7).permutation(np.concatenate([held_out, later]))
    detector = sim.fitted(np.stack([held_out, dumb[:20_000]]))
    flag = detector.score(np.stack([later, dumb[20_000:]])).flag
    assert flag[AT + 30 : AT + LENGTH].mean() > 0.9
    assert not flag[:AT].any()


def test_views_in_any_order_score_the_same(sim):
    held_out = np.stack([noise(seed, 5000, 4) for seed in range(3)])
    one = sim.fitted(held_out).score(held_out)
    other = sim.fitted(held_out[::-1]).score(held_out[::-1])
    np.testing.assert_allclose(one.score, other.score, rtol=1e-5)
    np.testing.assert_allclose(one.share, other.share, rtol=1e-5)


def test_top_counts_only_what_is_measured(sim):
    slack = np.array([0.0] * 8 + [6.0] * 100)
    assert sim.fitted(noise(0, 500, 108), slack=slack).top_ == 2
    assert sim.fitted(noise(0, 500, 28)).top_ == 4
    assert (
        Detector(top=3, slack=None).fit([sim.held_out(noise(0, 500, 28))], per_second=1e-6, merge_us=1).top_
        == 3
    )
