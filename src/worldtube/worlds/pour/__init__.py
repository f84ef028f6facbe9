"""A cup of water that is knocked over, missed, or poured from.

`plan` is what a seed decides, `solids` the bodies for MuJoCo, `simulation` the world that steps and shows them,
`witness` what happened. How water moves is `fluid`, how a picture is drawn `render`, how a caption is worded
`language`.
"""

from worldtube.worlds.pour.plan import TEMPLATES, VERSION, Plan, plan
from worldtube.worlds.pour.simulation import Pour

__all__ = ["TEMPLATES", "VERSION", "Plan", "Pour", "plan"]
