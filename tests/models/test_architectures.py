"""What every architecture promises; a new one is held to it by being in the registry."""

from __future__ import annotations

import functools
from typing import get_args

import keras
import numpy as np
import pytest

from pipeline.config.models import Model
from pipeline.errors import DataError
from pipeline.models import export, keras_file, onnx_file
from pipeline.models.architectures import ARCHITECTURES, build
from pipeline.models.export import AGREEMENT
from pipeline.models.reconstruct import VIEWS, Reconstructor
from pipeline.models.training import train

NAMES = get_args(Model.model_fields["architecture"].annotation)
PREDICTS = {"aer"}
STACKS = [((12,), 4), ((12, 8), 7), ((12, 8, 6), 10)]


def masked_error(made, values, mask) -> float:
    return float((mask * (made - values) ** 2).sum() / mask.sum())


def loss(views, values, mask) -> float:
    """What training makes small: each view's error, without a prediction's first row."""
    firsts = {"reconstruction": 0, "prediction": 1}
    parts = [
        masked_error(v[:, f:], values[:, f:], mask[:, f:])
        for n, f in firsts.items()
        if (v := views.get(n)) is not None
    ]
    return float(np.mean(parts))


def shaken(model, seed=0):
    """The model with weights in which nothing is 0 by chance of how it starts."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        weights = layer.get_weights()
        layer.set_weights(
            [w + rng.normal(0, 0.2, w.shape).astype(w.dtype) if w.dtype == np.float32 else w for w in weights]
        )
    return model


@functools.cache
def stacked(name, units, length):
    keras.utils.set_random_seed(3)
    config = Model(architecture=name, units=units, latent=3, dropout=0.2)
    return shaken(build(config, length, 4))


@pytest.fixture(params=STACKS, ids=lambda stack: f"{len(stack[0])}-layers-of-{stack[1]}-rows")
def stack(request):
    return request.param


@pytest.fixture
def some():
    def make(length, features=4, count=20):
        rng = np.random.default_rng(5)
        mask = (rng.random((count, length, features)) > 0.1).astype(np.float32)
        return rng.normal(size=mask.shape).astype(np.float32) * mask, mask

    return make


@pytest.fixture
def reconstruct(learned) -> Reconstructor:
    return Reconstructor(learned.folder / "model.onnx")


@pytest.fixture
def held_out(make_waves, all_of):
    return all_of(make_waves(400, seed=3))


def test_every_architecture_the_yaml_can_name_can_be_built_and_no_other():
    assert tuple(ARCHITECTURES) == NAMES


def test_an_unknown_architecture_is_named_with_the_known_ones(make_config):
    config = make_config().model_copy(update={"architecture": "oracle"})
    with pytest.raises(DataError, match=r"oracle.*known: .*lstm"):
        build(config, 8, 2)


@pytest.mark.parametrize("name", NAMES)
def test_layers_stack_as_configured_and_the_decoder_mirrors_the_encoder(name, stack):
    units, length = stack
    model = stacked(name, units, length)
    encoder = [getattr(layer, "forward_layer", layer) for layer in model.layers if "encoder_" in layer.name]
    decoder = [getattr(layer, "forward_layer", layer) for layer in model.layers if "decoder_" in layer.name]
    assert tuple(layer.cell.units for layer in encoder) == units
    assert tuple(layer.cell.units for layer in decoder) == units[::-1]
    assert model.get_layer("latent").units == 3
    assert {view: made.shape for view, made in model.output.items()} == dict.fromkeys(
        model.output, (None, length, 4)
    )


@pytest.mark.parametrize("name", NAMES)
def test_any_stack_over_any_length_saves_loads_exports_and_passes_the_checks(name, stack, some, tmp_path):
    units, length = stack
    model, windows = stacked(name, units, length), some(length)
    model.save(tmp_path / "model.keras")
    graph = export.to_onnx(model)
    assert export.difference(keras.saving.load_model(tmp_path / "model.keras"), graph, windows) <= AGREEMENT
    views = keras_file.inspect((tmp_path / "model.keras").read_bytes(), length, 4)
    assert views == onnx_file.inspect(graph, length, 4) == Reconstructor(graph).views


@pytest.mark.parametrize("name", NAMES)
def test_dropout_drops_while_training_and_never_after(name, some):
    model, (values, mask) = stacked(name, (12, 8), 7), some(7)
    windows = {"values": values, "mask": mask}
    learning = [np.asarray(model(windows, training=True)["reconstruction"]) for _ in range(2)]
    judging = [np.asarray(model(windows, training=False)["reconstruction"]) for _ in range(2)]
    assert not np.array_equal(*learning)
    assert np.array_equal(*judging)


def test_it_gives_the_views_it_says(learned, reconstruct):
    predicts = learned.config.architecture in PREDICTS
    assert reconstruct.views == VIEWS[: 1 + predicts]


def test_it_learns_a_wave(learned, reconstruct, held_out):
    losses = learned.trained.history["loss"]
    assert learned.trained.val_loss < losses[0] / 5
    assert losses[-1] < losses[0] / 3
    values, mask = held_out
    constant = (values.sum((0, 1)) / mask.sum((0, 1))) * np.ones_like(values)
    for view, made in reconstruct(values, mask).items():
        assert masked_error(made[:, 1:], values[:, 1:], mask[:, 1:]) < (
            masked_error(constant[:, 1:], values[:, 1:], mask[:, 1:]) / 5
        ), view


def test_the_weights_kept_are_those_of_the_best_epoch(learned, reconstruct, all_of):
    values, mask = all_of(learned.validation)
    kept = loss(reconstruct(values, mask), values, mask)
    assert kept == pytest.approx(learned.trained.val_loss, rel=0.02)  # Keras averages over batches
    best = learned.trained.history["val_loss"][learned.trained.best_epoch - 1]
    assert learned.trained.val_loss == best


def test_anomalies_come_out_worse_than_normals(reconstruct, held_out):
    values, mask = held_out
    odd = values.copy()
    odd[:, 6:12] = odd[:, 6:12][:, ::-1, ::-1] + 0.5
    whole = np.ones_like(mask)
    for view, made in reconstruct(odd, mask).items():
        normal = reconstruct(values, mask)[view]
        assert masked_error(made, odd, whole) > 4 * masked_error(normal, values, mask), view


@pytest.mark.parametrize("name", sorted(PREDICTS))
def test_a_prediction_knows_the_rows_before_it_and_nothing_else(learn_once, held_out, name):
    reconstruct = Reconstructor(learn_once(name).folder / "model.onnx")
    values, mask = held_out
    made = reconstruct(values, mask)["prediction"]
    for row in (0, 1, 5, values.shape[1] - 1):
        other, unseen = values.copy(), mask.copy()
        other[:, row:], unseen[:, row:] = 99, 1 - mask[:, row:]
        again = reconstruct(other, unseen)["prediction"]
        assert np.array_equal(again[:, : row + 1], made[:, : row + 1])
        assert not np.array_equal(again[:, row + 1 :], made[:, row + 1 :]) or row == values.shape[1] - 1
    assert np.ptp(made[:, 0], axis=0).max() == 0


def test_training_and_scoring_leave_their_input_as_it_was(learned, reconstruct, held_out):
    values, mask = held_out
    before = values.copy(), mask.copy()
    reconstruct(values, mask)
    assert learned.untouched
    assert np.array_equal(values, before[0])
    assert np.array_equal(mask, before[1])


@pytest.mark.parametrize("junk", [1e6, -1e30, np.nan, np.inf])
def test_what_stands_under_mask_0_plays_no_part(reconstruct, held_out, same, junk):
    values, mask = held_out
    covered = np.where(mask > 0, values, np.float32(junk))
    assert same(reconstruct(covered, mask), reconstruct(values, mask))


def test_the_keras_model_itself_honours_the_mask(learned, held_out, same):
    values, mask = (part[:8] for part in held_out)
    model = keras.saving.load_model(learned.folder / "model.keras")
    plain = model.predict_on_batch({"values": values, "mask": mask})
    covered = model.predict_on_batch({"values": np.where(mask > 0, values, np.float32(1e6)), "mask": mask})
    assert same(plain, covered)


def test_what_is_hidden_is_not_what_is_zero(reconstruct, held_out):
    values, mask = held_out[0].copy(), np.ones_like(held_out[1])
    values[:, 4:8] = 0
    hidden = mask.copy()
    hidden[:, 4:8] = 0
    assert (
        np.abs(
            reconstruct(values, mask)["reconstruction"] - reconstruct(values, hidden)["reconstruction"]
        ).max()
        > 0.01
    )


def test_a_value_that_is_not_finite_counts_as_unobserved(reconstruct, held_out, same):
    values, mask = held_out[0].copy(), held_out[1].copy()
    values[3, 4, 1], mask[3, 4, 1] = np.nan, 1
    unseen = mask.copy()
    unseen[3, 4, 1] = 0
    assert same(reconstruct(values, mask), reconstruct(values, unseen))


def test_saved_loaded_and_exported_are_the_same_model(learned, reconstruct, held_out):
    values, mask = held_out
    model = keras.saving.load_model(learned.folder / "model.keras")
    loaded, ours = model.predict({"values": values, "mask": mask}, verbose=0), reconstruct(values, mask)
    assert loaded.keys() == ours.keys()
    assert max(np.abs(loaded[view] - ours[view]).max() for view in ours) <= AGREEMENT
    assert learned.trained.onnx_difference <= AGREEMENT
    assert learned.trained.parameters == model.count_params()


def test_its_files_pass_the_checks_of_the_bundle(learned, reconstruct):
    shape = learned.train.length, learned.train.values.shape[1]
    assert keras_file.inspect((learned.folder / "model.keras").read_bytes(), *shape) == reconstruct.views
    assert onnx_file.inspect((learned.folder / "model.onnx").read_bytes(), *shape) == reconstruct.views


def test_the_saved_model_carries_no_loss_of_ours(learned):
    assert not keras.saving.load_model(learned.folder / "model.keras").compiled


def test_the_same_seed_gives_the_same_weights(learned, make_config, make_waves, held_out, same, tmp_path):
    data = make_waves(200, seed=4), make_waves(100, seed=5)
    for name in "ab":
        train(make_config(learned.config.architecture, dropout=0.1, epochs=2), *data, tmp_path / name)
    one, again = (Reconstructor(tmp_path / name / "model.onnx")(*held_out) for name in "ab")
    assert same(one, again)
    names = {keras.saving.load_model(tmp_path / name / "model.keras").name for name in "ab"}
    assert len(names) == 1  # Keras would count up for each earlier model that it still kept in memory


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_features_does_not_matter(name, some):
    """In another order, with their weights, they come out as before: no feature has neighbours."""
    order = [3, 1, 0, 2]
    model, (values, mask) = stacked(name, (12, 8), 7), some(7)
    again = keras.models.clone_model(model)
    for layer in model.layers:
        again.get_layer(layer.name).set_weights([_turned(w, layer, order) for w in layer.get_weights()])
    made = model.predict_on_batch({"values": values, "mask": mask})
    turned = again.predict_on_batch({"values": values[..., order], "mask": mask[..., order]})
    for view in made:
        assert np.allclose(turned[view], made[view][..., order], atol=1e-6)


def _turned(weights, layer, order):
    if layer.name in VIEWS:
        return weights[..., order]
    if weights.ndim > 1 and weights.shape[-2] == 8 and layer.name in {"encoder_0", "patterns"}:
        return weights[..., [*order, *(4 + i for i in order)], :]
    return weights
