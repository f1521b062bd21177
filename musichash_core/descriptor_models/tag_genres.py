"""Which of the pretrained network's tags name genres, and the order the default model puts them in.

Public: `TAGS`, `N_GENRE_TAGS`, `TAG_ORDER`.
"""

from musichash_core.musicnn.tags import MSD_TAGS

_GENRE_TAGS = (
    *("rock", "pop", "electronic", "dance", "jazz", "metal", "soul", "folk", "punk", "blues"),
    *("ambient", "Hip-Hop", "country", "funk", "rnb", "House", "experimental", "easy listening"),
)
"""Names of kinds of music. Kinds of a kind ("indie rock", "heavy metal") are tags beside them, so
that a track of rock is not called something else for having its votes divided."""

TAGS = (*_GENRE_TAGS, *(tag for tag in MSD_TAGS if tag not in _GENRE_TAGS))
"""Genres first, then the other tags in the order of the network."""

N_GENRE_TAGS = len(_GENRE_TAGS)

TAG_ORDER = [MSD_TAGS.index(tag) for tag in TAGS]
"""Where each of `TAGS` stands among the network's outputs."""
