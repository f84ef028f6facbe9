"""Which world a prompt speaks of: learned in seconds, right on captions of other seeds, and what ships too."""

import pytest

from worldtube.errors import RequestError
from worldtube.models.parts import load_part
from worldtube.train.topics import TopicsTrainConfig, measure, train_topics


def test_training_tells_worlds_apart(tmp_path):
    config = TopicsTrainConfig(captions=100, steps=60)
    model = train_topics(config, tmp_path)
    assert measure(model, count=50) > 0.85  # half are right by chance
    again = load_part("topics", tmp_path / "topics.safetensors")
    assert again.linear.weight.equal(model.linear.weight)


def test_what_ships_tells_worlds_apart():
    assert measure(load_part("topics"), count=100, seed=7) > 0.92


def test_wrong_values_are_named():
    with pytest.raises(RequestError, match="captions must be at least 1, got 0"):
        TopicsTrainConfig(captions=0)
