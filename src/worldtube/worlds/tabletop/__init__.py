"""Things on a table that fall, roll, slide, hit each other or just stand: `Tabletop`, drawn by seed with `plan`."""

from worldtube.worlds.tabletop.plan import TEMPLATES, Plan, Thing, plan
from worldtube.worlds.tabletop.simulation import Tabletop

__all__ = ["TEMPLATES", "Plan", "Tabletop", "Thing", "plan"]
