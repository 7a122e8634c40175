"""The search space: always holds what the stream says now, and nothing that its YAML could not say."""

import optuna
import pytest

from pipeline.tuning import Space
from tests.steps import kit as project
from tests.tuning import kit

ODD = {"architecture": "gru", "units": [17, 5, 3], "latent": 700, "learning_rate": 0.0123456, "dropout": 0.15}


@pytest.mark.parametrize("model", [{}, ODD])
@pytest.mark.parametrize("kind", ["plant", "shop"])
def test_the_present_configuration_lies_in_the_space_and_comes_out_as_it_was(kind, model):
    about = getattr(kit, kind)(model=model)
    space = Space.of(about, (kit.readings if kind == "plant" else kit.payments)(about))
    for name, distribution in space.distributions.items():
        assert distribution._contains(distribution.to_internal_repr(space.current[name])), name
    assert space.apply(space.current) == about


@pytest.mark.parametrize("seed", range(5))
def test_the_yaml_lines_mean_what_the_trial_was(tmp_path, seed):
    from pipeline.config.loader import load_project

    bare = project.PLANT.replace("window: {length: 16, stride: 4, delay: 3}\n", "").replace(
        "model: {units: [16], latent: 4, epochs: 6}\n", ""
    )
    home = project.project(tmp_path, plant=bare)
    about = load_project(home.configs).streams["plant"]
    space = Space(about, (16, 32, 64))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    params = study.ask(space.distributions).params
    (home.configs / "streams" / "plant.yaml").write_text(bare + space.yaml(params, ["found by tuning"]))
    found = load_project(home.configs)
    assert found.errors() == []
    assert found.streams["plant"] == space.apply(params) != about


def test_windows_are_no_longer_than_the_history_can_fill():
    about = kit.plant()
    short, long = (Space.of(about, kit.readings(about, rows=rows)).lengths for rows in (500, 2000))
    assert max(short) == 32 == about.window.length
    assert max(long) == 96
    least = kit.plant(window={"length": 40, "stride": 4, "delay": 31})
    assert min(Space.of(least, kit.readings(least)).lengths) > 31
    assert Space.of(about, kit.readings(about, rows=20)).lengths == (32,)


def test_a_learning_rate_is_rounded_to_what_a_person_would_write():
    space = Space(kit.plant(), (32,))
    made = space.apply({**space.current, "model.learning_rate": 0.00123456})
    assert made.model.learning_rate == 0.00123
    assert "learning_rate: 0.00123\n" in space.yaml({"model.learning_rate": 0.00123456})
