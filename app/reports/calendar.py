"""The Korean calendar: days and months begin at midnight in Seoul, whatever the server's clock says."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone

from app.errors import Malformed

KOREA = timezone(timedelta(hours=9), "KST")  # without summer time since 1988
FIRST_YEAR, LAST_YEAR = 2000, 2999


@dataclass(frozen=True, slots=True)
class Month:
    """A Korean calendar month; `since` and `until` are its bounds in UTC."""

    year: int
    month: int

    @property
    def since(self) -> datetime:
        return datetime(self.year, self.month, 1, tzinfo=KOREA).astimezone(UTC)

    @property
    def until(self) -> datetime:
        return self.after(1).since

    def after(self, months: int) -> "Month":
        """The month so many later (or earlier)."""
        count = self.year * 12 + self.month - 1 + months
        return Month(count // 12, count % 12 + 1)

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"


def month_of(moment: datetime) -> Month:
    """The Korean month that a moment lies in."""
    local = moment.astimezone(KOREA)
    return Month(local.year, local.month)


def read_month(text: str, field: str = "month") -> Month:
    """A month as `2026-10`; Malformed for anything else."""
    year, dash, month = text.partition("-")
    if len(text) == len("2026-10") and dash and text.isascii() and (year + month).isdigit():
        found = Month(int(year), int(month))
        if FIRST_YEAR <= found.year <= LAST_YEAR and 1 <= found.month <= 12:  # noqa: PLR2004 - months of a year
            return found
    raise Malformed(f"{field} is a month such as 2026-10", field=field)


def end_of_day_after(moment: datetime, days: int) -> datetime:
    """The end of the last of so many Korean calendar days, of which the first is the day after `moment`.

    The day itself is not counted (민법 157). A last day that is a holiday is not moved to the next one (민법 161
    would allow it): who answers by this day is in time whatever the calendar of holidays says.
    """
    day: date = moment.astimezone(KOREA).date() + timedelta(days=days + 1)
    return datetime(day.year, day.month, day.day, tzinfo=KOREA).astimezone(UTC)
