"""What an evaluation is asked for, and the units of work that this comes to.

Public: `EvaluationRequest`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from musichash_core.errors import ParameterError
from musichash_core.model_config import EncoderName, ModelConfig
from tasks.evaluation_methods import (
    DESCRIPTOR_HASH,
    DESCRIPTOR_HEAD,
    LINEAR_HEAD,
    check_methods,
)
from tasks.evaluation_recognition import has_forest
from tasks.evaluation_studies import Study, Variant
from tasks.evaluation_tables import REAL, Unit

MIN_BITS, MAX_BITS = 16, 256
"""Lengths that the hashing networks allow."""


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """What to evaluate.

    Attributes
    ----------
    bits : tuple of int
        Code lengths, multiples of 8 from 16 to 256.
    n_seeds : >= 1
        Training seeds 0, 1, ...; the split is the same for all.
    methods : tuple of str
        Of `tasks.evaluation_methods.METHOD_KEYS`; empty for the usual ones.
    unseen_genres : tuple of str
        Genres held out whole.
    study : "methods" or one of `tasks.evaluation_studies.STUDIES`
        Codes and recognition of all methods, or recognition as one thing changes (METHOD 3).
    encoder : "musicnn" or "hpss-cnn", optional
        Whose maps the hashing networks read; as configured when not given. A study is always of
        the HPSS-CNN.
    pooled : "descriptors", "last" or "all", optional
        What the baselines are given: one vector per track (the default with "musicnn", and only
        there), or pooled maps of the last block (the default with "hpss-cnn") or of all.
    split_seed : >= 0
    split_file : str, optional
        A table with the columns ``path`` and ``split``, as ``musichash dataset`` writes: the data
        set's own split instead of ours.
    """

    bits: tuple[int, ...] = (16, 32, 48, 64)
    n_seeds: int = 3
    methods: tuple[str, ...] = ()
    unseen_genres: tuple[str, ...] = ()
    study: Study = "methods"
    encoder: EncoderName | None = None
    pooled: Literal["last", "all", "descriptors"] | None = None
    split_seed: int = 0
    split_file: str | None = None

    def __post_init__(self) -> None:
        wrong = [n for n in self.bits if n % 8 or not MIN_BITS <= n <= MAX_BITS]
        if wrong or not self.bits or len(set(self.bits)) < len(self.bits):
            raise ParameterError(
                f"bits={list(self.bits)}: want different multiples of 8, {MIN_BITS} to {MAX_BITS}"
            )
        if self.n_seeds < 1 or self.split_seed < 0:
            raise ParameterError(
                f"n_seeds={self.n_seeds}, split_seed={self.split_seed}: want at least 1 and 0"
            )
        if self.split_file is not None and self.unseen_genres:
            raise ParameterError(
                f"unseen_genres={list(self.unseen_genres)} with a split file; a published split "
                "holds no genres out: leave one of them away"
            )
        check_methods(self.methods)

    def settled(self, models: ModelConfig) -> "EvaluationRequest":
        """Fill in what was not given, by the configured models.

        Raises
        ------
        ParameterError
            Vectors, or codes of them, are asked for without the pretrained encoder.
        """
        wanted = self.encoder or models.encoder
        encoder: EncoderName = wanted if self.study == "methods" else "hpss-cnn"
        default: Literal["descriptors", "last"] = "last" if encoder == "hpss-cnn" else "descriptors"
        if self.pooled == "descriptors" != default:
            raise ParameterError(
                f"features 'descriptors' with the encoder {encoder!r}: they are of the encoder "
                "'musicnn'; want 'last' or 'all'"
            )
        methods = check_methods(self.methods)
        if encoder == "musicnn" and not self.methods:
            methods = check_methods((*methods, DESCRIPTOR_HASH))
        if encoder == "hpss-cnn" and DESCRIPTOR_HASH in methods:
            raise ParameterError(
                f"method {DESCRIPTOR_HASH!r} with the encoder {encoder!r}: it is of the encoder "
                "'musicnn'; leave one of them away"
            )
        return replace(self, encoder=encoder, pooled=self.pooled or default, methods=methods)

    def units(self, variants: Sequence[Variant] = ()) -> list[Unit]:
        """List the work, seed by seed, in the order of the tables; `variants` are a study's."""
        units = []
        for seed in range(self.n_seeds):
            if self.study == "methods":
                is_pretrained = self.encoder == "musicnn"
                ours = (DESCRIPTOR_HEAD, LINEAR_HEAD) if is_pretrained else ("hpss-cnn",)
                units += [Unit("recognition", recogniser, seed) for recogniser in ours]
            units += [Unit("recognition", variant.key, seed) for variant in variants]
            if has_forest():
                units.append(Unit("recognition", "mfcc-rf", seed))
            if self.study != "methods":
                continue
            for method in check_methods(self.methods):
                lengths = (None,) if method == REAL else tuple(sorted(self.bits))
                units += [Unit("retrieval", method, seed, n_bits) for n_bits in lengths]
        return units
