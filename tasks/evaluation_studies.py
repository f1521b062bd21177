"""The studies of recognition (METHOD 3): what one thing at a time changes, beside a reference.

A study is a list of variants: settings of the genre network, channels that it sees, and settings of
the front end. Everything else is as configured, and each is trained with the same seeds on the
same tracks. What a variant would only repeat is left out of the list. Like
`tasks.evaluation_methods`, this loads no torch.

Public: `Study`, `StudyPlan`, `Variant`, `STUDIES`, `study_variants`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from musichash_core.config import PipelineConfig
from musichash_core.feature_config import FeatureConfig
from musichash_core.model_config import GenreCNNConfig, ModelConfig
from tasks.evaluation_methods import INPUT_CHANNELS, INPUT_CONTROL

Study = Literal["methods", "inputs", "fusion", "network", "hpss"]
"""Comparison of methods for codes; or one of `STUDIES`."""

ALL_CHANNELS = INPUT_CHANNELS["O+H+P"]
CONTROL_CHANNELS = INPUT_CHANNELS[INPUT_CONTROL]

DEPTHS = (3, 4, 5)
WIDTH_FACTORS = (0.5, 1.0, 2.0)
KERNEL_SIZES: tuple[Literal[3, 5], ...] = (3, 5)
POOLINGS: tuple[Literal["max", "avg"], ...] = ("max", "avg")
SEGMENT_FRAMES = (64, 128, 256)
"""1.5, 3 and 6 s at the default frame rate."""

MEDIAN_LENGTHS = (17, 31, 61)
MARGINS = (1.0, 2.0)
MASK_POWERS = (1.0, 2.0)

MIN_WIDTH = 4
"""Of a block or of one tower's share of it."""

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Variant:
    """One row of a study.

    Attributes
    ----------
    key, name : str
        In files, and as tables print it.
    models : ModelConfig
        What is trained.
    channels : tuple of int
        What it sees: 0, 1, 2 for original, harmonic, percussive.
    features : FeatureConfig
        What made them.
    """

    key: str
    name: str
    models: ModelConfig
    channels: tuple[int, ...]
    features: FeatureConfig

    def n_parameters(self, n_genres: int) -> int:
        """Count the weights that are trained."""
        return self.models.genre_cnn.n_parameters(len(self.channels), n_genres)


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """What a study asks.

    Attributes
    ----------
    title : str
        Heading of its page.
    column : str
        What its rows are.
    note : str
        How to read its table.
    references : tuple of str
        Variants that every other is compared with; the first is the one that counts.
    variants : callable
        Gives its rows under a configuration.
    """

    title: str
    column: str
    note: str
    references: tuple[str, ...]
    variants: Callable[[PipelineConfig], Iterator[Variant]]


def study_variants(study: Study, config: PipelineConfig) -> tuple[Variant, ...]:
    """List the rows of a study; none for the comparison of methods.

    Of variants that come to the same under this configuration the first stays.
    """
    if study == "methods":
        return ()
    kept: dict[tuple[object, ...], Variant] = {}
    for variant in STUDIES[study].variants(config):
        kept.setdefault((variant.models, variant.features, variant.channels), variant)
    return tuple(kept.values())


def _inputs(config: PipelineConfig) -> Iterator[Variant]:
    for key, channels in INPUT_CHANNELS.items():
        yield Variant(key, key, config.models, channels, config.features)


def _fusion(config: PipelineConfig) -> Iterator[Variant]:
    """Give early fusion and towers, as wide and with as many parameters, and their controls."""
    early = config.models.genre_cnn.model_copy(update={"fusion": "early"})
    wide = _towers(early, 1.0)
    for key, name, network in (
        ("early", "early fusion", early),
        ("towers", "wide towers", wide),
        ("towers-matched", "matched towers", _matched_towers(early)),
    ):
        models = _with_network(config.models, network)
        yield Variant(key, f"{name}: O+H+P", models, ALL_CHANNELS, config.features)
        control = f"{key}-{INPUT_CONTROL}"
        yield Variant(
            control, f"{name}: {INPUT_CONTROL}", models, CONTROL_CHANNELS, config.features
        )


def _network(config: PipelineConfig) -> Iterator[Variant]:
    """Change depth, width, kernels, pooling or the segments' length, one at a time."""
    network, segments = config.models.genre_cnn, config.models.segments
    yield _as_configured(config)
    for depth in DEPTHS:
        last = network.widths[-1:]
        widths = (network.widths + last * depth)[:depth]
        yield _with_change(config, f"depth-{depth}", f"{depth} blocks", widths=widths)
    for factor in WIDTH_FACTORS:
        widths = tuple(max(MIN_WIDTH, round(factor * width)) for width in network.widths)
        yield _with_change(config, f"width-x{factor:g}", f"widths x {factor:g}", widths=widths)
    for size in KERNEL_SIZES:
        yield _with_change(config, f"kernel-{size}", f"{size} x {size} kernels", kernel_size=size)
    for pooling in POOLINGS:
        name = {"max": "maximum", "avg": "mean"}[pooling]
        yield _with_change(config, f"pooling-{pooling}", f"{name} pooling", pooling=pooling)
    for n_frames in SEGMENT_FRAMES:
        if n_frames < 2 ** len(network.widths):
            continue
        if n_frames == segments.n_frames:
            continue  # whatever the overlap
        cut = {"n_frames": n_frames, "hop_frames": n_frames // 2}
        models = config.models.model_copy(update={"segments": segments.model_copy(update=cut)})
        name = f"{n_frames / config.features.frame_rate_hz:.1f} s segments"
        yield Variant(f"segment-{n_frames}", name, models, ALL_CHANNELS, config.features)


def _hpss(config: PipelineConfig) -> Iterator[Variant]:
    """Change the medians' length, the margin or the masks' exponent, one at a time."""
    yield _as_configured(config)
    changes: list[tuple[str, str, dict[str, Any]]] = []
    changes += [(f"median-{n}", f"medians of {n}", {"kernel_size": n}) for n in MEDIAN_LENGTHS]
    changes += [(f"margin-{m:g}", f"margin {m:g}", {"margin": m}) for m in MARGINS]
    changes += [(f"power-{p:g}", f"mask exponent {p:g}", {"power": p}) for p in MASK_POWERS]
    for key, name, change in changes:
        features = config.features.model_copy(update=change)
        yield Variant(key, name, config.models, ALL_CHANNELS, features)


def _as_configured(config: PipelineConfig) -> Variant:
    return Variant(DEFAULT, "configured", config.models, ALL_CHANNELS, config.features)


def _with_change(
    config: PipelineConfig,
    key: str,
    name: str,
    **change: Any,  # noqa: ANN401 - settings of several types
) -> Variant:
    network = config.models.genre_cnn.model_copy(update=change)
    return Variant(key, name, _with_network(config.models, network), ALL_CHANNELS, config.features)


def _with_network(models: ModelConfig, network: GenreCNNConfig) -> ModelConfig:
    """Give settings with another genre network; no hashing network is trained on it here."""
    n_maps = min(models.crnn_hash.n_maps, *network.widths)
    hashing = models.crnn_hash.model_copy(update={"n_maps": n_maps})
    return models.model_copy(update={"genre_cnn": network, "crnn_hash": hashing})


def _towers(early: GenreCNNConfig, factor: float) -> GenreCNNConfig:
    """Give three towers, each `factor` times as wide as the network of early fusion."""
    n_towers = len(ALL_CHANNELS)
    widths = tuple(n_towers * max(MIN_WIDTH, round(factor * width)) for width in early.widths)
    return early.model_copy(update={"fusion": "towers", "widths": widths})


def _matched_towers(early: GenreCNNConfig) -> GenreCNNConfig:
    """Give the towers whose number of parameters is nearest to that of early fusion."""
    n_channels = len(ALL_CHANNELS)
    n_genres = 10  # hardly matters: the output layer is a hundredth of the parameters
    wanted = early.n_parameters(n_channels, n_genres)
    candidates = [_towers(early, step / 100) for step in range(10, 101)]
    return min(
        candidates, key=lambda network: abs(network.n_parameters(n_channels, n_genres) - wanted)
    )


STUDIES: dict[str, StudyPlan] = {
    "inputs": StudyPlan(
        title="What the input channels are worth",
        column="input",
        note="O original, H harmonic, P percussive part. O+O+O has as many parameters as O+H+P and "
        "nothing new to see: only a gain over it can be credited to the separation.",
        references=(INPUT_CONTROL, "O"),
        variants=_inputs,
    ),
    "fusion": StudyPlan(
        title="Where original, harmonic and percussive part should meet",
        column="fusion",
        note="One network that sees the parts as channels, against a tower for each part whose "
        "last maps are joined. Wide towers are each as wide as the one network and have more "
        "parameters, matched ones are narrower and have as many. Rows that see only the original, "
        "three times, show what the shape alone brings.",
        references=("early", f"towers-{INPUT_CONTROL}"),
        variants=_fusion,
    ),
    "network": StudyPlan(
        title="What the shape of the network is worth",
        column="network",
        note="One thing is changed at a time; all networks see O+H+P and are trained alike, which "
        "may suit some of them better than others. Segments of another length are cut half "
        "overlapping, at most as many per track.",
        references=(DEFAULT,),
        variants=_network,
    ),
    "hpss": StudyPlan(
        title="What the settings of the separation are worth",
        column="separation",
        note="One setting of the separation is changed at a time; the network and what it sees, "
        "O+H+P, stay.",
        references=(DEFAULT,),
        variants=_hpss,
    ),
}
