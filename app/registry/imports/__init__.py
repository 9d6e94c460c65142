"""Reading the files that cities have: what they are, what they say, and what is wrong with it. No database here.

path ─ sniff ─┬─ text ─────────┐
              └─ workbook ─────┴─ rows.open_table ─ layouts ─ cameras.read_sites ─> (SiteRow, [Finding]) …, Summary
"""

from app.registry.imports.cameras import Locate, SiteRow, read_sites
from app.registry.imports.findings import Finding, Summary
from app.registry.imports.rows import Table, open_table

__all__ = ["Finding", "Locate", "SiteRow", "Summary", "Table", "open_table", "read_sites"]
