"""Learned dynamics: the state of rigid bodies, one step of time later, with pushes as actions.

`bodies` is the geometry, `network` the step, `rollout` many steps. A state comes in and goes out as
`worldtube.state.State`; weights, training and measures are elsewhere.
"""

from worldtube.dynamics.bodies import GRAVITY, SHAPES, Bodies, Motion
from worldtube.dynamics.network import Dynamics, DynamicsConfig
from worldtube.dynamics.rollout import continue_states, rollout, step

__all__ = [
    "GRAVITY",
    "SHAPES",
    "Bodies",
    "Dynamics",
    "DynamicsConfig",
    "Motion",
    "continue_states",
    "rollout",
    "step",
]
