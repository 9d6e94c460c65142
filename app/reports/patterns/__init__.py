"""What is unusual in a month of accesses, and why: each pattern with its numbers, in Korean and English.

A finding is a question, not a verdict: a person answers it. Sentences name no person; the finding's `user_id` does.
`access` says which accesses are looked at, `sentences` how a finding reads, `search` finds them.
"""

from app.reports.patterns.finding import LABELS, Finding
from app.reports.patterns.search import found

__all__ = ["LABELS", "Finding", "found"]
