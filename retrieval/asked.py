"""A shape as it is asked for: where nothing is said, what the checkpoint says of itself counts."""

from dataclasses import dataclass

from retrieval.shaped import CutBy, Shape
from sparse_model.lexical import TrainedShare
from sparse_model.pruning import Cut


@dataclass(frozen=True)
class AskedShape:
    """See `Shape`; None: nothing is said."""

    cut: Cut = Cut()
    cut_by: CutBy = "weight"
    lexical_share: float | None = None
    lexical_idf: bool | None = None

    def of(self, told: Cut, trained: TrainedShare) -> Shape:
        """The shape of a model's vectors.

        Args:
            told: the cut that the checkpoint says; trained: the share that it was trained under.
        """
        asked = self.cut
        cut = Cut(
            told.max_active_dims if asked.max_active_dims is None else asked.max_active_dims,
            told.prune_ratio if asked.prune_ratio is None else asked.prune_ratio,
        )
        share = trained.lexical_share if self.lexical_share is None else self.lexical_share
        with_idf = trained.lexical_idf if self.lexical_idf is None else self.lexical_idf
        return Shape(cut, self.cut_by, share, bool(share) and with_idf)
