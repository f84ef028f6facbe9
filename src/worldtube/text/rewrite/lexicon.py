"""The words that prompts use for what the captions know.

Owns English words. Knows nothing of their forms (`table`) or of grammar. A shade with a plain name ("crimson") goes
under it; a colour that the captions lack ("pink", "grey") has no entry, so that it is left as it is.
"""


def phrases(text: str) -> tuple[str, ...]:
    """Phrases between commas."""
    return tuple(" ".join(phrase.split()) for phrase in text.split(","))


COLOURS: dict[str, tuple[str, ...]] = {
    "red": phrases("crimson, scarlet, ruby, vermilion, cherry red"),
    "orange": phrases("tangerine"),
    "yellow": phrases("lemon, lemon yellow"),
    "green": phrases("emerald, lime green, grass green"),
    "blue": phrases("azure, navy, navy blue, sapphire, cobalt, sky blue, royal blue"),
    "purple": phrases("violet, lilac, lavender"),
    "white": phrases("snow white, snowy, snowy white, ivory, pure white"),
    "black": phrases("jet black, ebony, pitch black, coal black"),
}
SHAPES: dict[str, tuple[str, ...]] = {
    "ball": phrases("sphere, orb, globe, round ball, spherical object, spherical thing"),
    "box": phrases("""
        cube, block, crate, carton, cuboid, square box, square block, cubic object, cubical object
    """),
    "cylinder": phrases("""
        drum, tube, barrel, canister, cylindrical object, cylindrical thing, cylindrical shape
    """),
    "cup": phrases("""
        mug, tumbler, beaker, goblet, teacup, drinking glass, drinking cup, coffee cup, coffee mug
    """),
}
SIZES: dict[str, tuple[str, ...]] = {
    "small": phrases("""
        little, tiny, mini, miniature, petite, compact, smallish, minuscule, small sized, small in size, of
        small size, small size, little sized, little in size, of little size, little size
    """),
    "large": phrases("""
        big, huge, giant, oversized, massive, enormous, gigantic, sizable, sizeable, hefty, large sized, large
        in size, of large size, large size, big sized, big in size, of big size, big size
    """),
}
NUMBERS: dict[int, tuple[str, ...]] = {
    1: phrases("one, single, lone, sole, solitary, another, exactly one, just one"),
    2: phrases("two, pair of, couple of, duo of, twin, a pair of, a couple of, pair, a pair"),
    3: phrases("three, trio of, a trio of, trio, a trio"),
    4: phrases("four, quartet of, a quartet of, quartet, foursome"),
    5: phrases("five"),
    6: phrases("six"),
    7: phrases("seven"),
    8: phrases("eight"),
}
MATERIALS: dict[str, tuple[str, ...]] = {
    "rubber": phrases("rubbery, made of rubber, of rubber"),
    "plastic": phrases("made of plastic, of plastic"),
    "metal": phrases("metallic, made of metal, of metal"),
    "wooden": phrases("wood, made of wood, of wood"),
    "glass": phrases("made of glass, of glass"),
}
GOES: dict[str, tuple[str, ...]] = {
    "roll": phrases("roll"),
    "slide": phrases("slide, skid, slip"),
    "fly": phrases("fly, throw, toss, hurl, fling, lob, launch, pitch"),
    "move": phrases("""
        move, travel, go, head, come, proceed, advance, cross, shift, make its way, make their way, run, race,
        speed, dash, rush, zip, drift, glide, shoot, push, send, be in motion
    """),
}
"""Kind of movement -> stems of verbs; it needs a direction."""
FALLS = phrases("""
    fall, drop, tumble, tumble down, fall down, drop down, let go, let go of, come falling, descend, plunge,
    plummet, come down, sink down, release
""")
DOWN = phrases("""
    downward, downwards, down, from above, vertical drop, straight down, vertically, free fall, in free fall,
    free falling, from the top, from the air, from a height, from high up, from up high, from the sky,
    downward motion, falling down, falling from above, from overhead, from the top of the frame, pulled down
    by gravity, by gravity
""")
STAYS = phrases("""
    rest, stand, sit, lie, stay, remain, wait, be still, stay put, linger, stand still, sit still, lie still,
    stay still, keep still, remain still, stay in place, remain in place, stand there, sit there, lie there,
    stay there, park, keep, place, position, locate, situate, do nothing, stay perfectly still, stay
    motionless, remain motionless, be at rest, remain at rest, stay at rest, hold still, stay where it is,
    remain where it is, be placed, be positioned
""")
STILL = phrases("""
    still, at rest, motionless, stationary, static, unmoving, immobile, idle, no motion, no movement, not
    moving, without moving, without motion, at a standstill, does not move, do not move, doesn't move, don't
    move, not move, in place, is not moving, doing nothing, does nothing, do nothing, nothing moves, nothing
    happens, no movement at all, perfectly still, completely still, totally still, quite still, immovable,
    frozen, frozen in place, standstill, unmoved, without moving at all, not in motion, inert, put, not going
    anywhere, without any motion, without any movement, isn't moving, aren't moving, never moves
""")
SPEEDS: dict[str, tuple[str, ...]] = {
    "slowly": phrases("""
        slowly, gently, at a slow pace, leisurely, unhurriedly, sluggishly, slow, at low speed, at a low
        speed, at a leisurely pace, calmly, in slow motion, without hurry, very slowly, sluggish
    """),
    "quickly": phrases("""
        quickly, fast, rapidly, at high speed, swiftly, speedily, briskly, at speed, at a high speed, at a
        fast pace, at great speed, quick, very fast, very quickly, in a hurry, hurriedly, at top speed,
        speedy, swift
    """),
}
EVENTS: dict[str, tuple[str, ...]] = {
    "hit": phrases("""
        hit, strike, bump into, crash into, collide with, run into, ram, ram into, smash into, knock into,
        knock against, bump against, slam into, bump, collide, impact, bang into, smack into, bash into, plow
        into, plough into, drive into, crash against, smash against, contact, make contact with, touch, meet,
        smack, bang against, slam against, thump, barge into, roll into, slide into, bump into each other,
        collide with each other
    """),
    "over": phrases("""
        knock over, knock down, overturn, upset, bowl over, push over, tip, topple, knock, flip over, push
        down, turn over, send over
    """),
    "missed": phrases("""
        miss, narrowly miss, go past, roll past, move past, slide past, go by, pass by, pass without touching,
        just miss, pass, avoid, steer clear of, fail to hit, never touch, not hit, not touch
    """),
    "toppled": phrases(
        "topple over, fall over, tip over, tumble over, keel over, collapse, topple down"
    ),
    "bounced": phrases("""
        bounce, bounce up again, bounce back, bounce up, rebound, bounce again, bounce up and down, bounce off
    """),
    "upright": phrases("""
        stay upright, remain upright, keep upright, remain standing, stay standing, not tip over, not fall
        over, keep standing, not fall, not tip, not topple
    """),
    "spilled": phrases("spill, spill out, leak out, splash out, get spilled"),
    "poured": phrases("pour, pour out, empty"),
}
"""Kind -> stems of verbs. `over` knocks something over."""
_EDGES = phrases("""
    off, off the edge, off the table, over the edge, over the edge of the table, off the edge of the table,
    off the side, off the tabletop, from the table
""")
OFF = tuple(
    f"{verb} {edge}"
    for verb in ("fall", "drop", "go", "roll", "slide", "tumble", "come", "tip", "slip")
    for edge in _EDGES
)
LINKS: dict[str, tuple[str, ...]] = {
    "left of": phrases("""
        left of, to the left of, on the left of, on the left side of, on the left hand side of
    """),
    "right of": phrases("""
        right of, to the right of, on the right of, on the right side of, on the right hand side of
    """),
    "on top of": phrases("on top of, atop, upon, on, onto, stacked on, stacked on top of"),
    "in front of": phrases("in front of"),
    "behind": phrases("behind, in back of"),
    "into": phrases("into, against"),
    "towards": phrases("towards, toward, in the direction of, at"),
    "beside": phrases("next to, beside, alongside, near, close to, by"),
}
WAYS: dict[str, tuple[str, ...]] = {
    "right": phrases("""
        right, to the right, rightward, rightwards, towards the right, toward the right, from left to right,
        left to right, from the left to the right, to the right side, to right, towards right, toward right,
        to its right, right side, rightward motion, off to the right, towards the right edge, toward the right
        edge, to the right edge, in a rightward direction, from the left edge to the right edge, from left
        side to right side, from left towards right, from the left, to the right hand side, from the left side
        to the right side, rightbound, towards the right side, over to the right, in the right direction
    """),
    "left": phrases("""
        left, to the left, leftward, leftwards, towards the left, toward the left, from right to left, right
        to left, from the right to the left, to the left side, to left, towards left, toward left, to its
        left, left side, leftward motion, off to the left, towards the left edge, toward the left edge, to the
        left edge, in a leftward direction, from the right edge to the left edge, from right side to left
        side, from right towards left, in the left direction, from the right, to the left hand side, from the
        right side to the left side, leftbound, towards the left side, over to the left
    """),
}
STACKED = phrases("""
    stacked, in a stack, stacked up, stacked on top of each other, on top of each other, piled up, on top of
    one another, stacked on top of one another, stay stacked, in a pile, stands in a stack, stand in a stack,
    standing in a stack, stays stacked, piled on top of each other, one on top of the other
""")
STACK = phrases("""
    stack, pile, tower, the stack, stack of, pile of, tower of
""")
STACK_STANDS = tuple(
    f"{the}stack {verb}" for the in ("", "the ") for verb in ("stands", "holds", "stays up")
)
FLOWS = phrases("""
    flow, run, stream, gush, come
""")
"""What water does."""
GROUNDS: dict[str, tuple[str, ...]] = {
    "wood": phrases("wooden boards, wooden planks, table of wood, table of wooden boards"),
    "tiles": phrases("tiles, tiled, square tiles"),
    "cloth": phrases("""
        cloth, tablecloth, table cloth, fabric, table with a cloth, table with a tablecloth
    """),
    "stone": phrases("stone, table of stone"),
    "checker": phrases("checked, checkered, chequered, checkerboard, chessboard"),
}
SKIES: dict[str, tuple[str, ...]] = {
    "day": phrases("pale sky, pale daytime sky, daylight, daytime sky"),
    "dusk": phrases("sky at dusk, dim evening sky, dusky sky, evening sky, dusk"),
    "studio": phrases("grey studio light, even studio light, studio light"),
    "mint": phrases("mint sky, mint coloured sky"),
}
FLOORS = phrases("""
    table, tabletop, table top, surface, floor, ground, desk
""")
CAMERA: dict[tuple[str, str | None], tuple[str, ...]] = {
    ("orbit", "left"): phrases(
        "circles to the left, orbits left, moves around to the left, orbits to the left"
    ),
    ("orbit", "right"): phrases("""
        circles to the right, orbits right, moves around to the right, orbits to the right
    """),
    ("orbit", None): phrases(
        "circles around, moves around the scene, circles, orbits, circles the scene"
    ),
    ("dolly", "in"): phrases(
        "moves in, moves closer, comes nearer, comes closer, zooms in, moves nearer"
    ),
    ("dolly", "out"): phrases("moves back, moves away, pulls back, zooms out, backs away"),
    ("dolly", "left"): phrases(
        "slides to the left, moves sideways to the left, moves to the left, moves left"
    ),
    ("dolly", "right"): phrases("""
        slides to the right, moves sideways to the right, moves to the right, moves right
    """),
    ("dolly", None): phrases("moves along, travels along"),
    ("fixed", None): phrases("""
        does not move, stays fixed, stands still, is fixed, is still, stays still, is static
    """),
}
OPENINGS = phrases("""
    a video of, a clip of, footage of, a shot of, a scene with, a video in which, a clip where, in this clip,
    in this video, we see, you can see, the clip shows, the video shows, show me, can be seen, there is, there
    are, there's, i want, i would like, i'd like, make, create, generate, show, please, let, imagine, picture,
    video, clip, film, a scene, scene, a video showing, a clip showing, a short clip of, a short video of,
    have, give me, watch as, watch, see, here is, here are, in this, all of this is, the scene is, everything
    is, nothing else is in view, there is nothing else in the scene, no other object is in view, a group of, a
    set of, a row of, a total of, group of, set of, row of, a number of, total of, a video with, a clip with,
    a short film of, short clip, short video, could you, can you, can i see, i want to see, i would like to
    see, i'd like to see, i need, we want, let us see, let me see, let's see, what i want is, how about, try,
    render, draw, animate, simulate, produce, a view of, view of, shows, showing, featuring, contains,
    containing, with, on display, you see, one sees, one can see, that is all, that's all, that is it, nothing
    more, no other objects, and nothing else, a simple scene, look at, behold, notice, observe, pictured,
    depict, depicting, depicts, please show, please make, nothing else, a picture of, an animation of,
    animation, seen by a, in the scene, in view
""")
"""How people begin, and what says nothing of what is to be seen."""
FILLERS = phrases("""
    is, are, be, being, was, were, been, gets, get, got, there, also, has, its, their, just, simply, too, so,
    as, this, these, those, some, of, to, quietly, each, have, coloured, colored, colour, color, in color, in
    colour, shaped, object, objects, kind, of them, will, should, starts, starting, begins, itself,
    themselves, by itself, on its own, side by side, through the air, in the air, through the scene, here,
    number, seen, having, only, exactly, precisely, namely, kinds, items, item, thing, things, piece, pieces,
    shape, shapes, in total, altogether, in all, now, all the time, the whole time, throughout, whole,
    gradually, steadily, smoothly, continuously, directly, together, at once, simultaneously, on screen, in
    frame, in the frame, in shot, in the picture, visible, present, appears, appear, very, quite, rather,
    really, perfectly, completely, totally, entirely, absolutely, fully, subject, subjects, action, count,
    size, type, quantity, set, group, row, can, which is, across the scene, across the screen, across the
    frame, across the picture, the same way, way, over there, does, do, did, straight, neatly, there too, the
    clip, the video, ends, up, in place of rest, identical, matching, equal, whose, it's, they're, that's, all
    alone, alone, on its side
""")
MANNERS = phrases("""
    motion, movement, direction, in the direction, moving direction, direction of motion, same way
""")
WHICH = phrases("""
    that, which, who
""")
PLACES = phrases("""
    under, below, above, above it, across, along, over, in front, beneath
""")
"""May only lead to the ground or the sky: no caption says what lies below a thing."""
JOINS = phrases("""
    and, while, then, and then, after that, next, first, plus, but, before, afterwards, whereas, as well as,
    together with, along with, finally, at the same time
""")
REFUSED = frozenset(
    phrases("""
    aren't, can't, cannot, doesn't, don't, either, except, hardly, instead, isn't, neither, never, no, nobody,
    none, nor, not, nothing, or, other, than, unlike, without, won't, among, around, between, through, times, twice,
    thrice
""")
)
"""Words that turn round what others say, or relate it in a way that no caption does: their prompt stays as it is."""
THEY = phrases("""
    they, them, both, all, both of them, all of them, they both, each of them
""")
IT = phrases("""
    it, this one, that one
""")
DOUBLED = frozenset(phrases("drop, flip, hit, ram, run, sit, skid, slip, spin, tip, travel, zip"))
"""Verbs that double their last letter."""
PAST = {
    "fall": "fell",
    "fly": "flew",
    "throw": "thrown",
    "fling": "flung",
    "come": "came",
    "go": "went",
    "run": "ran",
    "slide": "slid",
    "shoot": "shot",
    "stand": "stood",
    "sit": "sat",
    "hit": "hit",
    "strike": "struck",
    "send": "sent",
    "lie": "lay",
    "upset": "upset",
    "spill": "spilt",
}
