"""All baselines by name, in the order tables list them.

Public: `BASELINES`, `make_baselines`.
"""

from musichash_core.hash_baselines.baseline import Baseline
from musichash_core.hash_baselines.contrastive_loss import CIBHashLoss
from musichash_core.hash_baselines.controls import learn_class_hash, learn_real_vectors
from musichash_core.hash_baselines.hash_head import HeadMethod, HeadSettings, head_learner
from musichash_core.hash_baselines.kernel_hash import learn_ksh
from musichash_core.hash_baselines.label_losses import (
    CSQLoss,
    GreedyHashLoss,
    OrthoHashLoss,
    SSDHLoss,
)
from musichash_core.hash_baselines.linear_codes import (
    learn_itq,
    learn_itq_cca,
    learn_lsh,
    learn_rotated_pca,
)
from musichash_core.hash_baselines.pair_losses import DPSHLoss, DSHLoss, HashNetLoss
from musichash_core.hash_baselines.spectral_hash import learn_spectral_hash
from musichash_core.hash_baselines.supervised_discrete import learn_sdh


def make_baselines(settings: HeadSettings) -> dict[str, Baseline]:
    """List the baselines, the deep ones trained by these settings."""

    def deep(name: str, source: str, method: HeadMethod, *, is_supervised: bool = True) -> Baseline:
        return Baseline(name, source, is_supervised, head_learner(method, settings))

    two_views = HeadMethod(CIBHashLoss, sees_two_views=True)
    return {
        "lsh": Baseline("LSH", "Charikar, STOC 2002", False, learn_lsh),
        "pca-rr": Baseline(
            "PCA+random rotation+sign", "Jégou et al., CVPR 2010", False, learn_rotated_pca
        ),
        "itq": Baseline("ITQ", "Gong and Lazebnik, CVPR 2011", False, learn_itq),
        "sh": Baseline("SH", "Weiss et al., NIPS 2008", False, learn_spectral_hash),
        "cibhash": deep("CIBHash", "Qiu et al., IJCAI 2021", two_views, is_supervised=False),
        "itq-cca": Baseline("ITQ-CCA", "Gong et al., TPAMI 2013", True, learn_itq_cca),
        "ksh": Baseline("KSH", "Liu et al., CVPR 2012", True, learn_ksh),
        "sdh": Baseline("SDH", "Shen et al., CVPR 2015", True, learn_sdh),
        "dsh": deep("DSH", "Liu et al., CVPR 2016", HeadMethod(DSHLoss)),
        "dpsh": deep("DPSH", "Li et al., IJCAI 2016", HeadMethod(DPSHLoss)),
        "hashnet": deep("HashNet", "Cao et al., ICCV 2017", HeadMethod(HashNetLoss)),
        "greedyhash": deep("GreedyHash", "Su et al., NeurIPS 2018", HeadMethod(GreedyHashLoss)),
        "ssdh": deep("SSDH", "Yang et al., TPAMI 2018", HeadMethod(SSDHLoss)),
        "csq": deep("CSQ", "Yuan et al., CVPR 2020", HeadMethod(CSQLoss)),
        "orthohash": deep(
            "OrthoHash",
            "Hoe et al., NeurIPS 2021",
            HeadMethod(OrthoHashLoss, normalises_bits=True),
        ),
        "cls-hash": Baseline(
            "CLS-HASH", "control: the predicted class as a code", True, learn_class_hash
        ),
        "real": Baseline(
            "REAL", "reference: cosine, no hashing", False, learn_real_vectors, is_binary=False
        ),
    }


BASELINES: dict[str, Baseline] = make_baselines(HeadSettings())
"""The baselines with the default settings of the deep ones."""
