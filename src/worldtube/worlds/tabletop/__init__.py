"""Things on a table that fall, roll, slide, hit each other or just stand: `Tabletop`, drawn by seed with `plan`."""

from worldtube.worlds.tabletop.plan import TEMPLATES, Plan, plan
from worldtube.worlds.tabletop.simulation import Tabletop
from worldtube.worlds.tabletop.things import Thing

__all__ = ["TEMPLATES", "Plan", "Tabletop", "Thing", "plan"]
