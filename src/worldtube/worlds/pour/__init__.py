"""A cup of water that is knocked over, missed, or poured from.

`plan` is what a seed decides, `solids` the bodies for MuJoCo, `engine` steps them and the water, `witness` is what
happened and `sight` what could be seen, `simulation` the world that shows it. How water moves is `fluid`, how a picture
is drawn `render`, how a caption is worded `language`.
"""

from worldtube.worlds.pour.plan import TEMPLATES, VERSION, Plan, plan
from worldtube.worlds.pour.simulation import Pour

__all__ = ["TEMPLATES", "VERSION", "Plan", "Pour", "plan"]
