"""How far a number stands from what is usual, by measures that a few wild values cannot pull along.

The usual is the median; the spread is the median of the absolute deviations from it (MAD). The score is the modified
z-score of Iglewicz and Hoaglin (1993), 0.6745 · (value - median) / MAD, for which they call more than 3.5 an outlier.
The mean and the standard deviation would not do: one heavy user among eight hides behind the spread it makes itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

OUTLIER = 3.5
_SCALE = 0.6745  # the MAD of a normal distribution is so many of its standard deviations
LEAST_SPREAD = 0.1  # of the median: where all others are alike, a tenth more is not yet unusual


@dataclass(frozen=True, slots=True)
class Deviation:
    """A value against others: `median` and `mad` are of the others, `count` how many they are."""

    value: float
    median: float
    mad: float
    count: int
    score: float

    @property
    def is_high(self) -> bool:
        return self.score > OUTLIER

    def numbers(self) -> dict[str, float]:
        """As they are written down with a finding."""
        return {
            "value": self.value, "median": round(self.median, 2), "mad": round(self.mad, 2), "compared": self.count,
            "score": round(self.score, 1),
        }  # fmt: skip


def deviation(value: float, others: Sequence[float]) -> Deviation:
    """How far `value` stands from `others` (at least one); the spread counts as 1 at least: 2 is no outlier of 1."""
    middle = float(median(others))
    mad = float(median(abs(other - middle) for other in others))
    spread = max(mad, LEAST_SPREAD * middle, 1.0)
    return Deviation(value, middle, mad, len(others), _SCALE * (value - middle) / spread)
