"""One thing as it starts, and how big and how it may be turned. Knows nothing of who is drawn when."""

import math
from dataclasses import dataclass

METRES = {"small": 0.32, "large": 0.54}


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One object as it starts."""

    group: int
    colour: str
    shape: str
    size: str
    material: str
    dimensions: tuple[float, float, float, float]
    """As `render.Scene.sizes` wants them."""
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rotation: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    velocity: tuple[float, float, float] = (0.0, 0.0, 0.0)
    spin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Angular velocity, world axes."""
    friction: float = 0.5
    heaviness: float = 1.0
    """Times the density of its material; what is sent against others is often filled."""
    on: int | None = None
    """The thing that it stands on, where that is not the table."""
    airborne: bool = False

    @property
    def half_height(self) -> float:
        """From the table to the centre when it stands."""
        d = self.dimensions
        return {"ball": d[0], "box": d[2], "cylinder": d[1], "cup": d[2]}[self.shape]

    @property
    def radius(self) -> float:
        """Of a circle on the table that holds it when it stands, whatever its yaw."""
        d = self.dimensions
        if self.shape == "box":
            return 1.3 * d[0]
        # A lying cylinder rolls, so it has a spin.
        return math.hypot(d[0], d[1]) if self.shape == "cylinder" and any(self.spin) else d[0]

    @property
    def standing(self) -> bool:
        """Whether it starts upright on its base, so that it could topple."""
        return self.shape != "ball" and not self.airborne and self.spin == (0.0, 0.0, 0.0)


def turned(
    yaw: float, tilt: float = 0.0, heading: float = 0.0
) -> tuple[float, float, float, float]:
    """The quaternion (w, x, y, z) that yaws about z, then tilts about the horizontal axis at `heading`."""
    c, s = math.cos(yaw / 2), math.sin(yaw / 2)
    a, b = math.cos(tilt / 2), math.sin(tilt / 2)
    x, y = b * math.cos(heading), b * math.sin(heading)
    return (a * c, x * c + y * s, y * c - x * s, a * s)
