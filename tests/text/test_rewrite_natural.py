"""Prompts as people type them: what each of them says is still said after rewriting."""

import re

import pytest

from worldtube.text.rewrite import rewrite

BALLS, BOX, BOXES, SMALL, LARGE = (
    "balls|spheres|orbs",
    "box|cube|crate",
    "boxes|cubes",
    "small|tiny|little",
    "large|big|huge",
)
TWO, THREE, FOUR = "two|2", "three|3", "four|4"
FACTS = {
    # prompt: what must be said, in order where joined by ">>"
    "pouring water into a glass": ["pouring", "water", "into a glass"],
    "stacking three boxes": ["^stacking", THREE, BOXES],
    "slow motion of a red ball rolling to the right": ["slow motion", "red ball", "roll", "right"],
    "a red ball rolls to the right in slow motion": ["slow motion", "red ball", "right"],
    "two tiny crimson spheres roll to the left": [f"({TWO}) ({SMALL}) (red|crimson) ({BALLS})", "left"],
    "Two small red balls and one big blue box, all at rest": [TWO, SMALL, "red", LARGE, f"blue ({BOX})", "rest|still"],
    "a big red ball knocks over a tiny green cup": [f"({LARGE}) red ball >> knocks over >> ({SMALL}) green cup"],
    "a green cup is knocked over by a red ball": ["green cup >> by >> red ball|red ball >> knocks over >> green cup"],
    "a tiny blue cube falls on a huge white cylinder": [f"blue ({BOX}) >> fall >> white cylinder", SMALL, LARGE],
    "a ball": ["ball"],
    "ball rolling": ["ball", "roll"],
    "red ball, blue box": ["red ball", "blue box"],
    "a red ball on the left and a blue box on the right": ["red ball on the left", "blue box on the right"],
    "a red ball to the left of a blue box": ["red ball >> left of >> blue box"],
    "the blue box is to the right of a red ball": ["blue box >> right of >> red ball"],
    "a tiny ball behind a huge box": [f"({SMALL}) ball >> behind >> ({LARGE}) box"],
    "an orange box in front of a purple cylinder": ["orange box >> in front of >> purple cylinder"],
    "three balls fall, then one bounces": [THREE, "fall >> then >> one bounces"],
    "four yellow cubes fall down one after another": [FOUR, f"yellow ({BOXES})", "fall", "one after another"],
    "a ball that does not move": ["ball", "not move|still"],
    "no balls, only a box": ["no balls", "only a box"],
    "a box without a ball": ["box without a ball"],
    "either a red ball or a blue one": ["either", "red ball or a blue"],
    "a red ball rolls left, stops, and rolls back to the right": ["left >> stops >> back >> right"],
    "a ball rolls to the right and then to the left": ["right >> then >> left"],
    "the red ball hits the blue box and the blue box falls over": ["red ball >> hits >> blue box >> falls over"],
    "a tiny red ball hits a huge blue box, and the box falls over": ["red ball >> hits >> blue box >> falls over"],
    "a red ball misses the blue box": ["red ball >> miss >> blue box"],
    "a red ball almost hits a blue box": ["red ball >> almost hits >> blue box"],
    "a purple ball rolls off the table": ["purple ball >> rolls off the table"],
    "a tiny purple ball falls off the table": ["purple ball >> falls off the (table|edge)", SMALL],
    "a little cup of water falls over and the water spills": [SMALL, "cup of water >> falls over >> spill"],
    "most of the water spills from a tiny glass": ["most of the water", "spill", f"({SMALL}) glass"],
    "a glass half full of water": ["half full of water"],
    "water flows from the red cup into the blue cup": ["from the red cup >> into the blue cup"],
    "a red cup pours water into a big blue glass": [f"red cup >> pours >> water >> ({LARGE}) blue glass"],
    "a tiny red ball rolls quickly to the right": [f"({SMALL}) red ball", "quick", "right"],
    "a very fast red ball": ["very fast", "red ball"],
    "five little black boxes slide slowly leftwards": ["five|5", f"({SMALL}) black boxes", "slid", "slow", "left"],
    "twelve balls fall": ["twelve", "balls fall"],
    "a dozen tiny balls": ["dozen", SMALL, BALLS],
    "a tower of five cubes": ["tower", "five|5", BOXES],
    "a big tower of tiny blocks collapses": ["big tower", "tiny blocks", "collapses"],
    "a red ball on a wooden table under a mint sky": ["red ball", "wooden table", "mint sky"],
    "a tiny ball rolls to the right on a stone surface at dusk": ["ball", "right", "stone", "dusk"],
    "a huge red ball rolls to the right, the camera orbits left": [f"({LARGE}) red ball", "right", "camera >> left"],
    "camera slowly zooms in on a red ball": ["slowly zooms in", "red ball"],
    "seen from above, a red ball rolls right": ["from above", "red ball", "right"],
    "close-up of a tiny red ball": ["close-up", f"({SMALL}) red ball"],
    "a rubber ball bounces three times": ["rubber ball", "bounces three times"],
    "a metal cube and a plastic cup": [f"metal ({BOX})", "plastic cup"],
    "a shiny metallic red ball spins": ["shiny metallic red ball", "spins"],
    "a pink ball rolls to the left": ["pink ball", "left"],
    "a dark blue ball and a light blue ball": ["dark blue ball", "light blue ball"],
    "a red and blue striped ball": ["red and blue striped"],
    "ice cubes fall into a glass of water": ["ice cubes", "into a glass of water"],
    "a lemon rolls off a table": ["lemon", "off a table"],
    "someone throws a tiny red ball to the left": ["someone throws", f"({SMALL}) red ball", "left"],
    "a person stacks three boxes on top of each other": ["person stacks", THREE, BOXES],
    "a dog chases a red ball": ["dog chases", "red ball"],
    "What happens if a big ball hits a tiny box?": ["what happens if", f"({LARGE}) ball hits a ({SMALL}) box"],
    "zwei kleine rote B\u00e4lle fallen": ["zwei kleine rote B\u00e4lle fallen"],
    "a BIG RED ball!!!": ["big red ball!!!"],
    "two big red balls and two tiny blue balls collide": [TWO, f"({LARGE}) red", f"({SMALL}) blue", "collide"],
    "a red ball rolls towards a tiny blue box but stops before it": ["red ball >> towards >> blue box >> stops before"],
    "a tiny red ball between two big boxes": [f"({SMALL}) red ball between", f"({TWO}) ({LARGE}) boxes"],
    "one of the three red balls falls": ["one of the three red balls falls"],
}  # fmt: skip


def says(text: str, fact: str) -> bool:
    """Whether a text says a fact: alternatives joined by |, parts that come in this order joined by >>."""
    steps = [f"(?:{step.strip()})" for step in fact.split(">>")]
    return re.search(".*?".join(steps), text, re.IGNORECASE) is not None


@pytest.mark.parametrize("prompt", FACTS)
def test_what_a_prompt_says_is_still_said(prompt):
    text = rewrite(prompt)
    for fact in FACTS[prompt]:
        alternatives = fact.split("|") if ">>" in fact and "(" not in fact else [fact]
        assert any(says(prompt, one) for one in alternatives), f"the prompt does not say {fact}"
        assert any(says(text, one) for one in alternatives), f"{text!r} does not say {fact}"


def test_some_of_them_are_rewritten():
    assert sum(rewrite(prompt) != prompt for prompt in FACTS) >= 8
