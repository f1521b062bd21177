"""Groups of tracks that pairs join.

Public: `join_pairs`.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def join_pairs(pairs: NDArray[np.int64], n_tracks: int) -> list[NDArray[np.int64]]:
    """Join tracks that pairs connect, directly or by way of others.

    Parameters
    ----------
    pairs : (n_pairs, 2) int64
        Numbers of tracks, 0 to `n_tracks` - 1.

    Returns
    -------
    list of (n_members,) int64
        Groups of two tracks or more, by their first member; members ascend.
    """
    if not len(pairs):
        return []
    members, positions = np.unique(pairs, return_inverse=True)
    if members[0] < 0 or members[-1] >= n_tracks:
        raise IndexError(f"pairs name tracks {members[0]} to {members[-1]} of {n_tracks}")
    ends = positions.reshape(pairs.shape)
    links = coo_array(
        (np.ones(len(pairs), np.int8), (ends[:, 0], ends[:, 1])), shape=(len(members),) * 2
    )
    component = connected_components(links, directed=False)[1]
    order = np.argsort(component, kind="stable")
    begins = np.flatnonzero(np.diff(component[order])) + 1
    groups = [members[part] for part in np.split(order, begins)]
    return sorted(groups, key=lambda group: int(group[0]))
