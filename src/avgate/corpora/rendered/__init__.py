"""The embedded corpus: a face and a voice whose valence and arousal are known at every frame, made without download."""

from avgate.corpora.rendered.config import Difficulty, RenderConfig
from avgate.corpora.rendered.read import Rendered
from avgate.corpora.rendered.write import render

__all__ = ["Difficulty", "RenderConfig", "Rendered", "render"]
