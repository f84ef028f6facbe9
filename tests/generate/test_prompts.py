"""Prompts are prepared in one place: rewritten or left alone, with warnings of bounded length."""

import pytest

import worldtube
from worldtube.errors import DataError, RequestError
from worldtube.generate.prompts import MAX_ECHO, prepare_prompts, shorten
from worldtube.generate.request import Request, Shot
from worldtube.generate.session import Session
from worldtube.models import GaussianModel
from worldtube.text.rewrite import REWRITERS


class Model(GaussianModel):
    """Reads ten characters and knows balls alone."""

    def doubts(self, prompt):
        return [] if "ball" in prompt else ["unfamiliar"]

    def unread(self, prompt):
        return prompt[10:]


@pytest.fixture
def rewriter(monkeypatch):
    """Install a function of a prompt as the rewriter `endpoint`."""

    def install(function):
        monkeypatch.setitem(REWRITERS, "endpoint", lambda options: function)
        return "endpoint:"

    return install


def test_a_rewritten_request_keeps_what_was_asked_and_all_else(rewriter):
    name = rewriter(lambda prompt: "A ball.")
    request = Request(prompt="a crimson sphere", seconds=1.0, seed=3)
    prepared, warnings = prepare_prompts(Model(), request, name)
    assert prepared.prompt == "A ball." and prepared.asked == request.prompt
    assert (prepared.seconds, prepared.seed) == (1.0, 3)
    assert warnings == ("the prompt was rewritten as: A ball.",)


def test_no_change_is_the_same_request(rewriter):
    request = Request(prompt="a dog")
    assert prepare_prompts(Model(), request, rewriter(str))[0] is request
    assert prepare_prompts(Model(), request, None)[0] is request


def test_the_grammar_leaves_the_prompts_of_other_models_alone():
    request = Request(prompt="a tiny crimson orb rolls leftwards")
    assert prepare_prompts(Model(), request)[0] is request


def test_every_shot_is_rewritten(rewriter):
    shots = (Shot(prompt="an orb"), Shot(prompt="a ball"))
    name = rewriter(lambda prompt: prompt.replace("orb", "ball"))
    prepared, _ = prepare_prompts(Model(), Request(prompt="", shots=shots), name)
    assert [shot.prompt for shot in prepared.shots] == ["an ball", "a ball"]
    assert prepared.asked == "an orb | a ball"


@pytest.mark.parametrize("error", [DataError("no answer"), IndexError("tuple"), RecursionError()])
def test_a_rewriter_that_fails_leaves_the_prompt_alone(rewriter, error):
    def fail(prompt):
        raise error

    request = Request(prompt="a ball")
    prepared, (warning,) = prepare_prompts(Model(), request, rewriter(fail))
    assert prepared is request and type(error).__name__ in warning


def test_an_answer_that_is_too_long_is_not_used(rewriter):
    request = Request(prompt="a ball")
    prepared, (warning,) = prepare_prompts(Model(), request, rewriter(lambda prompt: "x" * 40000))
    assert prepared is request and "more than 32000 characters" in warning


def test_an_unknown_rewriter_is_refused():
    with pytest.raises(RequestError, match="parrot"):
        prepare_prompts(Model(), Request(prompt="a ball"), "parrot")


def test_long_prompts_are_not_repeated_whole(rewriter):
    request = Request(
        prompt="a ball " * 4000, negative_prompt="noise and blur", num_frames=5, guidance=4.0
    )
    name = rewriter(lambda prompt: prompt + ".")
    _, warnings = prepare_prompts(Model(), request, name)
    assert len(warnings) == 3 and all(len(warning) < 350 for warning in warnings)
    assert "the prompt is too long" in warnings[1]
    assert "the negative prompt is too long" in warnings[2] and "blur" in warnings[2]
    _, warnings = prepare_prompts(Model(), Request(prompt="a ball", guidance=1.0), None)
    assert warnings == ()


@pytest.mark.parametrize("text", ["", "short", "a\nb\tc", "x" * 200, "\u00e4 " * 30000])
def test_a_shortened_text_is_one_line(text):
    short = shorten(text)
    assert len(short) <= MAX_ECHO and "\n" not in short and short[:9] == " ".join(text.split())[:9]


def test_python_gets_the_warnings_on_the_clip_and_by_the_warnings_module():
    session = Session(Model())
    with pytest.warns(worldtube.PromptWarning, match="unfamiliar"):
        clip = session.generate("a dog", seconds=0.5, steps=1)
    assert clip.warnings == ("unfamiliar",)
