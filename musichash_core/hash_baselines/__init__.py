"""Known hashing methods on given features, to compare ours with (METHOD 5).

``BASELINES["itq"].fit(TrainingItems(features), n_bits=64, seed=0).logits(others)`` gives logits
whose signs are codes. All methods get the same features, standardised alike; the deep ones share
network and training and differ in the loss alone.
"""

from musichash_core.hash_baselines.baseline import Baseline, FittedHash
from musichash_core.hash_baselines.hash_centres import hash_centres, majority_centres
from musichash_core.hash_baselines.hash_head import HeadSettings
from musichash_core.hash_baselines.registry import BASELINES, make_baselines
from musichash_core.hash_baselines.training_items import TrainingItems

__all__ = [
    "BASELINES",
    "Baseline",
    "FittedHash",
    "HeadSettings",
    "TrainingItems",
    "hash_centres",
    "majority_centres",
    "make_baselines",
]
