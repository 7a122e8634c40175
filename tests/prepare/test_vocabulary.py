"""Promises of vocabularies: bounded however many values there are, rare and unknown told apart."""

import json

import numpy as np
import pytest

from pipeline.prepare import vocabulary
from pipeline.prepare.vocabulary import Vocabulary


def learned(counts):
    texts = sorted(counts)
    codes = np.repeat(np.arange(len(texts)), [counts[t] for t in texts])
    return vocabulary.learn(codes, texts)


def test_frequent_values_have_a_slot_each_and_the_rest_share_rare():
    words = learned({f"v{i:02}": 100 - i for i in range(20)})
    assert words.slots == (*(f"=v{i:02}" for i in range(15)), "rare", "unknown")
    slots, shares = words.look_up(["v00", "v14", "v15", "what"])
    assert slots.tolist() == [0, 14, 15, 16]
    assert shares[0] == pytest.approx(100 / words.total)
    assert shares[2] == pytest.approx(85 / words.total)
    assert 0 < shares[3] < 1 / words.total


def test_a_field_without_frequent_values_has_no_slots_for_them():
    words = learned({f"terminal {i}": 2 for i in range(2000)})
    assert words.slots == ("rare", "unknown")


def test_room_is_bounded_however_many_values_there_are():
    words = vocabulary.learn(np.arange(150_000), [f"order {i}" for i in range(150_000)])
    assert len(words.buckets) <= vocabulary.BUCKETS
    assert sum(distinct for _, distinct in words.buckets.values()) == 150_000
    assert len(json.dumps(words.to_dict())) < 2_000_000


def test_slots_do_not_depend_on_the_order_of_rows_and_survive_json():
    words = learned({"b": 3, "a": 3, "c": 9, "": 1})
    assert list(words.frequent) == ["c", "a", "b", ""]
    again = Vocabulary.from_dict(json.loads(json.dumps(words.to_dict(), sort_keys=True)))
    assert again == words
    assert again.slots == words.slots
