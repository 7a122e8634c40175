"""What every architecture promises; a new one is held to it by being in the registry."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from pipeline.errors import DataError
from pipeline.models import keras_file, onnx_file
from pipeline.models.architectures import ARCHITECTURES, build
from pipeline.models.export import AGREEMENT
from pipeline.models.reconstruct import Reconstructor
from pipeline.models.training import train


def masked_error(reconstruction, values, mask) -> float:
    return float((mask * (reconstruction - values) ** 2).sum() / mask.sum())


@pytest.fixture
def reconstruct(learned) -> Reconstructor:
    return Reconstructor(learned.folder / "model.onnx")


@pytest.fixture
def held_out(make_waves, all_of):
    return all_of(make_waves(400, seed=3))


def test_every_architecture_the_yaml_can_name_can_be_built(learned):
    assert set(ARCHITECTURES) == {learned.config.architecture}


def test_an_unknown_architecture_is_named_with_the_known_ones(make_config):
    config = make_config().model_copy(update={"architecture": "oracle"})
    with pytest.raises(DataError, match=r"oracle.*known: .*lstm"):
        build(config, 8, 2)


def test_layers_stack_as_configured_and_the_decoder_mirrors_the_encoder(make_config):
    model = build(make_config(units=(12, 8), latent=3, dropout=0.2), 10, 4)
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.LSTM)]
    assert [layer.units for layer in layers] == [12, 8, 8, 12]
    assert model.get_layer("latent").units == 3
    assert model.output_shape == (None, 10, 4)


def test_it_learns_a_wave(learned):
    losses = learned.trained.history["loss"]
    assert learned.trained.val_loss < losses[0] / 5
    assert losses[-1] < losses[0] / 3


def test_the_weights_kept_are_those_of_the_best_epoch(learned, reconstruct, all_of):
    values, mask = all_of(learned.validation)
    kept = masked_error(reconstruct(values, mask), values, mask)
    assert kept == pytest.approx(learned.trained.val_loss, rel=0.02)  # Keras averages over batches
    best = learned.trained.history["val_loss"][learned.trained.best_epoch - 1]
    assert learned.trained.val_loss == best


def test_anomalies_reconstruct_worse_than_normals(reconstruct, held_out):
    values, mask = held_out
    odd = values.copy()
    odd[:, 6:12] = odd[:, 6:12][:, ::-1, ::-1] + 0.5
    whole = np.ones_like(mask)
    assert masked_error(reconstruct(odd, mask), odd, whole) > 4 * masked_error(
        reconstruct(values, mask), values, mask
    )


def test_training_and_scoring_leave_their_input_as_it_was(learned, reconstruct, held_out):
    values, mask = held_out
    before = values.copy(), mask.copy()
    reconstruct(values, mask)
    assert learned.untouched
    assert np.array_equal(values, before[0])
    assert np.array_equal(mask, before[1])


@pytest.mark.parametrize("junk", [1e6, -1e30, np.nan, np.inf])
def test_what_stands_under_mask_0_plays_no_part(reconstruct, held_out, junk):
    values, mask = held_out
    covered = np.where(mask > 0, values, np.float32(junk))
    assert np.array_equal(reconstruct(covered, mask), reconstruct(values, mask))


def test_the_keras_model_itself_honours_the_mask(learned, held_out):
    values, mask = (part[:8] for part in held_out)
    model = keras.saving.load_model(learned.folder / "model.keras")
    plain = model.predict_on_batch({"values": values, "mask": mask})
    covered = model.predict_on_batch({"values": np.where(mask > 0, values, np.float32(1e6)), "mask": mask})
    assert np.array_equal(plain, covered)


def test_a_value_that_is_not_finite_counts_as_unobserved(reconstruct, held_out):
    values, mask = held_out[0].copy(), held_out[1].copy()
    values[3, 4, 1], mask[3, 4, 1] = np.nan, 1
    unseen = mask.copy()
    unseen[3, 4, 1] = 0
    assert np.array_equal(reconstruct(values, mask), reconstruct(values, unseen))


def test_saved_loaded_and_exported_are_the_same_model(learned, reconstruct, held_out):
    values, mask = held_out
    model = keras.saving.load_model(learned.folder / "model.keras")
    loaded = model.predict({"values": values, "mask": mask}, verbose=0)
    assert np.abs(loaded - reconstruct(values, mask)).max() <= AGREEMENT
    assert learned.trained.onnx_difference <= AGREEMENT
    assert learned.trained.parameters == model.count_params()


def test_its_files_pass_the_checks_of_the_bundle(learned):
    shape = learned.train.length, learned.train.values.shape[1]
    keras_file.inspect((learned.folder / "model.keras").read_bytes(), *shape)
    onnx_file.inspect((learned.folder / "model.onnx").read_bytes(), *shape)


def test_the_saved_model_carries_no_loss_of_ours(learned):
    assert not keras.saving.load_model(learned.folder / "model.keras").compiled


def test_the_same_seed_gives_the_same_weights(learned, make_config, make_waves, held_out, tmp_path):
    data = make_waves(200, seed=4), make_waves(100, seed=5)
    for name in "ab":
        train(make_config(learned.config.architecture, dropout=0.1), *data, tmp_path / name)
    one, again = (Reconstructor(tmp_path / name / "model.onnx")(*held_out) for name in "ab")
    assert np.array_equal(one, again)
    names = {keras.saving.load_model(tmp_path / name / "model.keras").name for name in "ab"}
    assert len(names) == 1  # Keras would count up for each earlier model that it still kept in memory


def test_the_order_of_features_does_not_matter(learned, tmp_path):
    data = learned.train, learned.validation
    turned = [type(w)(w.values[:, ::-1].copy(), w.mask[:, ::-1].copy(), w.starts, w.length) for w in data]
    again = train(learned.config.model_copy(update={"epochs": 10}), *turned, tmp_path)
    assert 1 / 4 < again.val_loss / min(learned.trained.history["val_loss"][:10]) < 4
    assert again.val_loss < again.history["loss"][0] / 4
