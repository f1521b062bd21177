"""The shipped musicnn networks: load one, and ask it about the patches of a track.

Patches come from `musichash_core.musicnn.log_mel`. Measured on one thread (AVX-512), 16 patches of
a track take 55 ms with MSD_musicnn, 62 ms with MSD_vgg, 115 ms with MTT_vgg and 160 ms with
MTT_musicnn. Decoding 48 s of Ogg Vorbis, as much as 16 patches hold, takes 60 ms.

Public: `NETWORKS`, `DEFAULT_NETWORK`, `Tagger`, `load_musicnn`, `EncodedPatches`, `encode_patches`,
`TrackSummary`, `summarise_patches`; for conversion `CARD_KEY`, `PretrainedNetwork`,
`pretrained_network`, `network_from_tensors`.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as tensors_from_bytes

from musichash_core.errors import MusicHashError, ParameterError
from musichash_core.musicnn.networks import VGG, MusiCNN
from musichash_core.musicnn.tags import MSD_TAGS, MTT_TAGS

Tagger = MusiCNN | VGG

WEIGHTS_FOLDER = Path(__file__).parent / "weights"

CARD_KEY = "musicnn"
"""Entry of a file's metadata: JSON of its name, source, licence, tags and inputs' checksums."""

DEFAULT_NETWORK = "MSD_musicnn"

PATCHES_PER_BATCH = 4
"""The fastest on a CPU, by a sixth over single patches; with 16, memory is the limit. A GPU wants
more."""


@dataclass(frozen=True, slots=True)
class PretrainedNetwork:
    """What belongs to a name.

    Attributes
    ----------
    architecture : MusiCNN or VGG
    tags : tuple of str
    sha256 : str
        Of the shipped safetensors file.
    """

    architecture: type[MusiCNN] | type[VGG]
    tags: tuple[str, ...]
    sha256: str


NETWORKS = {
    "MSD_musicnn": PretrainedNetwork(
        MusiCNN,
        MSD_TAGS,
        "fdd0fdb35c7f56d1be761eac663bbcff73d873fe5ec5f3801241900615fe86e6",
    ),
    "MTT_musicnn": PretrainedNetwork(
        MusiCNN,
        MTT_TAGS,
        "760fbe533363903988341d86f4e0a9b4de00e872f4848e2d614b1ea3e7527a08",
    ),
    "MSD_vgg": PretrainedNetwork(
        VGG,
        MSD_TAGS,
        "9bcbf55f6844cabd9c022ff63940cfdd071e326f33a6380c9f0f2958cafa34ae",
    ),
    "MTT_vgg": PretrainedNetwork(
        VGG,
        MTT_TAGS,
        "7a7cc1a929c6eed1f9bb5f228194aed3d8ab347b0d43e90ba6d1ecf1219f1829",
    ),
}


@dataclass(frozen=True, slots=True)
class EncodedPatches:
    """What a network says about each patch.

    Attributes
    ----------
    probabilities : (n_patches, n_tags) float32
        Each from 0 to 1; a patch's tags do not sum to 1.
    embeddings : (n_patches, embedding_width) float32
        Of 200 numbers (MusiCNN) or 256 (VGG); they are of either sign, and not of unit length.
    """

    probabilities: NDArray[np.float32]
    embeddings: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TrackSummary:
    """What a network says about a track.

    Attributes
    ----------
    probabilities : (n_tags,) float32
        Mean over patches, as the authors do.
    embedding : (embedding_width,) float32
        Mean over patches.
    n_patches : int
    """

    probabilities: NDArray[np.float32]
    embedding: NDArray[np.float32]
    n_patches: int


def load_musicnn(name: str = DEFAULT_NETWORK) -> Tagger:
    """Load a shipped network, in evaluation mode, on the CPU.

    Parameters
    ----------
    name : str
        One of `NETWORKS`.

    Returns
    -------
    MusiCNN or VGG
        Its attribute ``tags`` names the outputs.

    Raises
    ------
    ParameterError
        If there is no network of that name.
    MusicHashError
        If its file is missing, or is not the one that was shipped.
    """
    kind = pretrained_network(name)
    path = WEIGHTS_FOLDER / f"{name}.safetensors"
    try:
        contents = path.read_bytes()
    except OSError as error:
        raise MusicHashError(f"{path} cannot be read ({error.strerror}); install again") from error
    found = hashlib.sha256(contents).hexdigest()
    if found != kind.sha256:
        raise MusicHashError(
            f"{path} has SHA-256 {found}, not {kind.sha256}: it is damaged or replaced; install "
            "again"
        )
    return network_from_tensors(name, contents)


def pretrained_network(name: str) -> PretrainedNetwork:
    """Look a name up in `NETWORKS`.

    Raises
    ------
    ParameterError
        If there is no network of that name.
    """
    if name not in NETWORKS:
        raise ParameterError(f"no network {name!r}; there are {', '.join(NETWORKS)}")
    return NETWORKS[name]


def network_from_tensors(name: str, contents: bytes) -> Tagger:
    """Build a network with the weights of a safetensors file, which also decide its widths.

    Parameters
    ----------
    name : str
        One of `NETWORKS`.
    contents : bytes
        From `musichash_core.musicnn.convert.convert_checkpoint`.

    Raises
    ------
    ParameterError
        If there is no network of that name, or the weights are not of its architecture.
    """
    kind = pretrained_network(name)
    tensors = tensors_from_bytes(contents)
    layer = "front" if kind.architecture is MusiCNN else "blocks"
    try:
        widths = [len(tensors[f"{layer}.{i}.conv.bias"]) for i in range(5)]
        with torch.random.fork_rng(devices=[]):
            network = kind.architecture(kind.tags, widths)
        network.load_state_dict(tensors)
    except (KeyError, RuntimeError) as error:
        raise ParameterError(f"weights do not fit the network {name}: {error}") from error
    return network.eval()


@torch.inference_mode()
def encode_patches(
    network: Tagger, patches: NDArray[np.float32], *, batch_size: int = PATCHES_PER_BATCH
) -> EncodedPatches:
    """Compute tag probabilities and embedding of each patch, on the network's device.

    Parameters
    ----------
    patches : (n_patches, 187, 96) float32
        Log-mel, at least one patch.
    batch_size : >= 1
        Patches at once. Another size changes a probability by less than 1e-5 and an embedding by
        less than 1e-5 of its largest value.

    Raises
    ------
    ParameterError
        If the patches have another shape, or a result is not finite.
    """
    if not len(patches) or batch_size < 1:
        raise ParameterError(
            f"{len(patches)} patches in batches of {batch_size}: want at least one of each"
        )
    device = network.tag_head.weight.device
    logits, embeddings = [], []
    for first in range(0, len(patches), batch_size):
        some = torch.from_numpy(patches[first : first + batch_size].copy())
        output = network(some.to(device))
        logits.append(output.logits.cpu())
        embeddings.append(output.embedding.cpu())
    # In single precision a vector's last lanes round otherwise: results would depend on the place.
    probabilities = torch.cat(logits).double().sigmoid().float()
    encoded = EncodedPatches(probabilities.numpy(), torch.cat(embeddings).numpy())
    if not (np.isfinite(encoded.probabilities).all() and np.isfinite(encoded.embeddings).all()):
        raise ParameterError("the network gave NaN or infinity; the patches have such values")
    return encoded


def summarise_patches(encoded: EncodedPatches) -> TrackSummary:
    """Average over the patches of a track."""
    means = (
        values.mean(axis=0, dtype=np.float64).astype(np.float32)
        for values in (encoded.probabilities, encoded.embeddings)
    )
    probabilities, embedding = means
    return TrackSummary(probabilities, embedding, len(encoded.probabilities))
