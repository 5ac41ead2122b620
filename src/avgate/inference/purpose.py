"""What estimates are for and what they aren't: the words of the model cards, of the server and of its page."""

from __future__ import annotations

NO_DECISIONS = "Not for decisions about a person."
"""What is said first of every model."""

TRAINED_ON = "Trained on rendered clips, photographs and acted speech, and not on spontaneous behaviour."
"""Of the weights that come with avgate."""

IS_FOR = (
    "Seeing how avgate works on a recording of one's own.",
    "Comparing moments of one recording, or recordings of one person made alike.",
    "A baseline, or a start, for research with rated recordings.",
)
"""What the weights that come with avgate are for."""

NO_MODEL_IS_FOR = (
    "Decisions about a person: hiring, schooling, insurance, credit, police, borders, health. In the European Union, "
    "inferring emotions at work and in education is prohibited, but for medical and safety reasons (AI Act, article "
    "5).",
    "Watching people who haven't agreed.",
    "Saying what somebody feels. They say how a voice and a face come across, by a convention.",
)
"""What no weights are for, whoever trained them."""

IS_NOT_FOR = (*NO_MODEL_IS_FOR, "Spontaneous behaviour: they weren't trained on any.")
"""What the weights that come with avgate aren't for."""
