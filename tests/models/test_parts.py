"""What architectures are made of: peepholes as published, and rows that know the past alone."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from pipeline.models.architectures.parts import before, final
from pipeline.models.architectures.peephole import PeepholeLSTM, PeepholeLSTMCell


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.fixture
def steps():
    return np.random.default_rng(1).normal(size=(3, 6, 4)).astype(np.float32)


@pytest.fixture
def peephole(steps):
    keras.utils.set_random_seed(2)
    layer = PeepholeLSTM(5, return_sequences=True, name="peephole")
    layer(steps)
    layer.cell.peepholes.assign(np.random.default_rng(3).normal(size=(3, 5)))
    return layer


def test_peepholes_compute_the_published_equations(peephole, steps):
    w, u, b, (p_i, p_f, p_o) = (np.asarray(part, np.float64) for part in peephole.get_weights())
    w_i, w_f, w_g, w_o = np.split(w, 4, axis=1)
    u_i, u_f, u_g, u_o = np.split(u, 4, axis=1)
    b_i, b_f, b_g, b_o = np.split(b, 4)
    h = c = np.zeros((3, 5))
    for t in range(6):
        x = steps[:, t].astype(np.float64)
        i = sigmoid(x @ w_i + h @ u_i + p_i * c + b_i)
        f = sigmoid(x @ w_f + h @ u_f + p_f * c + b_f)
        c = f * c + i * np.tanh(x @ w_g + h @ u_g + b_g)
        h = sigmoid(x @ w_o + h @ u_o + p_o * c + b_o) * np.tanh(c)
        assert np.allclose(np.asarray(peephole(steps))[:, t], h, atol=1e-6)


def test_without_weight_in_its_peepholes_it_is_an_lstm(peephole, steps):
    peephole.cell.peepholes.assign(np.zeros((3, 5)))
    plain = layers.LSTM(5, return_sequences=True)
    plain(steps)
    plain.set_weights(peephole.get_weights()[:3])
    assert np.allclose(np.asarray(plain(steps)), np.asarray(peephole(steps)), atol=1e-6)


def test_a_new_cell_keeps_what_it_knows_and_lets_no_gate_peep(steps):
    layer = PeepholeLSTM(5, return_sequences=False, name="new")
    assert layer(steps).shape == (3, 5)
    *_, bias, peepholes = layer.get_weights()
    assert np.array_equal(bias, [0] * 5 + [1] * 5 + [0] * 10)
    assert not peepholes.any()


def test_all_weights_of_a_cell_are_learned(steps):
    model = keras.Sequential([keras.Input((6, 4)), PeepholeLSTM(5, return_sequences=True, name="peephole")])
    before = [w.copy() for w in model.get_weights()]
    model.compile("adam", "mse")
    model.fit(steps, np.ones((3, 6, 5)), verbose=0)
    assert len(before) == 4
    for old, new in zip(before, model.get_weights(), strict=True):
        assert (old != new).all()


def test_a_cell_is_what_its_config_says():
    assert PeepholeLSTMCell.from_config(PeepholeLSTMCell(7).get_config()).units == 7


@pytest.fixture
def shaped():
    given = keras.Input((6, 4))
    return keras.Model(given, {"before": before(given), "final": final(given)})


def test_before_is_one_row_later_and_begins_with_nothing(shaped, steps):
    made = np.asarray(shaped(steps)["before"])
    assert not made[:, 0].any()
    assert np.array_equal(made[:, 1:], steps[:, :-1])


def test_final_is_the_last_row(shaped, steps):
    assert np.array_equal(np.asarray(shaped(steps)["final"]), steps[:, -1])


def test_attention_looks_back_and_nowhere_else(make_config, steps):
    from pipeline.models.architectures import build

    keras.utils.set_random_seed(4)
    model = build(make_config("attention_lstm", units=(5,)), 6, 4)
    known, code = model.get_layer("before").output, model.get_layer("decoder_0").output
    tail = keras.Model([known, code], model.output["reconstruction"])
    rng = np.random.default_rng(5)
    past, decoded = rng.normal(size=(2, 6, 5)), rng.normal(size=(2, 6, 5))
    made = np.asarray(tail([past, decoded]))
    for row in range(6):
        other = past.copy()
        other[:, row] += 1
        changed = np.abs(np.asarray(tail([other, decoded])) - made).max((0, 2)) > 1e-6
        assert list(changed) == [t >= row for t in range(6)]
