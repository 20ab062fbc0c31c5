"""The most alike of many vectors: by comparing all, or, of very many, those of near lists."""

import math

import numpy as np
import torch
from torch import Tensor

EXHAUSTIVE = 1 << 32  # comparisons, up to which each query is compared with all vectors
PROBED = 16  # lists that a query is compared with
SAMPLE = 40  # vectors a list that its centre is found from


class Nearest:
    """Vectors among which those nearest to others are looked for.

    Many vectors are put into lists, as many as the root of their number, by k-means; a query is
    compared with the vectors of the `PROBED` lists whose centres are nearest to it (an inverted
    file: J. Sivic, A. Zisserman, "Video Google", 2003; probed as in H. Jégou et al., "Product
    quantization for nearest neighbor search", 2011, section IV). The comparisons grow with the
    number to the power of 1.5, not 2. A neighbour whose list isn't probed is missed; copies, which
    are much alike, seldom are (see docs/findings/data.md).

    Args:
        vectors: (n, d) float32 of length 1 or 0.
        queries: How many are going to be asked for.
    """

    def __init__(self, vectors: Tensor, queries: int) -> None:
        self.vectors = vectors
        self.centres: Tensor | None = None
        self.lists: list[Tensor] = []
        if len(vectors) * queries > EXHAUSTIVE:
            self._make_lists(math.isqrt(len(vectors)))

    def __call__(self, queries: Tensor, most: int) -> Tensor:
        """Return the numbers (q, most) of the vectors nearest to queries (q, d), the nearest first.

        With fewer vectors than `most`, of all of them; -1 where the probed lists hold fewer.
        """
        most = min(most, len(self.vectors))
        if self.centres is None:
            return (queries @ self.vectors.T).topk(most, dim=1).indices
        probed = (queries @ self.centres.T).topk(min(PROBED, len(self.lists)), dim=1).indices
        asked, numbers, alike = [], [], []
        for k in probed.unique().tolist():
            of_list = (probed == k).any(1).nonzero()[:, 0]
            members = self.lists[k]
            found = (queries[of_list] @ self.vectors[members].T).topk(min(most, len(members)), 1)
            asked.append(of_list.repeat_interleave(found.values.shape[1]).numpy())
            numbers.append(members[found.indices].flatten().numpy())
            alike.append(found.values.flatten().numpy())
        query, number = np.concatenate(asked), np.concatenate(numbers)
        order = np.lexsort((-np.concatenate(alike), query))
        query, number = query[order], number[order]
        rank = np.arange(len(query)) - np.searchsorted(query, query)
        nearest = np.full((len(queries), most), -1)
        kept = rank < most
        nearest[query[kept], rank[kept]] = number[kept]
        return torch.from_numpy(nearest)

    def _make_lists(self, count: int) -> None:
        from sklearn.cluster import MiniBatchKMeans

        step = max(1, len(self.vectors) // (count * SAMPLE))
        found = MiniBatchKMeans(count, random_state=0, batch_size=4096, n_init=1, max_iter=10)
        found.fit(self.vectors[::step].numpy())
        centres = torch.from_numpy(found.cluster_centers_).to(self.vectors)
        self.centres = centres / centres.norm(dim=1, keepdim=True).clamp(min=1e-9)
        nearest = [(part @ self.centres.T).argmax(1) for part in self.vectors.split(4096)]
        of_vector = torch.cat(nearest)
        counts = of_vector.bincount(minlength=count)
        lists = of_vector.argsort(stable=True).split(counts.tolist())
        filled = [k for k, members in enumerate(lists) if len(members)]
        self.lists, self.centres = [lists[k] for k in filled], self.centres[filled]
