"""The learned renderer: a physical state to the latents of its pictures.

`scenes` turns states into tensors, `features` into rays, `network` into latents. Knows nothing of codecs beyond their
stride and channels, and nothing of training.
"""

from worldtube.renderer.network import Renderer, RendererConfig
from worldtube.renderer.scenes import Scenes

__all__ = ["Renderer", "RendererConfig", "Scenes"]
