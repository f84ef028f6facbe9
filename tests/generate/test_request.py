"""A request in other words keeps what was asked."""

from worldtube.generate.request import Request, Shot, reworded


def test_a_reworded_request_keeps_what_was_asked_and_all_else():
    request = Request(prompt="two tiny crimson spheres roll leftwards", seconds=1.0, seed=3)
    other = reworded(request)
    assert other.prompt == "Two small red balls roll to the left."
    assert other.asked == request.prompt
    assert (other.seconds, other.seed) == (1.0, 3)


def test_nothing_to_say_better_is_the_same_request():
    request = Request(prompt="a dog in the park")
    assert reworded(request) is request


def test_every_shot_is_reworded():
    shots = (Shot(prompt="a crimson orb falls"), Shot(prompt="a dog"))
    other = reworded(Request(prompt="", shots=shots))
    assert [shot.prompt for shot in other.shots] == ["A red ball falls.", "a dog"]
    assert other.asked == "a crimson orb falls | a dog"
