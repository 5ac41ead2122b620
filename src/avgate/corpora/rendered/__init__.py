"""The rendered corpus: synthetic faces and voices with known valence and arousal in every frame; needs no download."""

from avgate.corpora.rendered.config import Difficulty, RenderConfig
from avgate.corpora.rendered.read import Rendered
from avgate.corpora.rendered.write import render

__all__ = ["Difficulty", "RenderConfig", "Rendered", "render"]
