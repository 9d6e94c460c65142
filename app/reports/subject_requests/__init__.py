"""Data subjects' requests (개인영상정보 열람등 요구): received, proved, decided, masked, closed, and forgotten.

Sources: PIPA 35 and 36, its Enforcement Decree 41 and 42 (ten days; put off with a reason), 표준 개인정보 보호지침 on
footage: only where the asker is shown, or life, body or property are in urgent danger; others are masked; the grounds
of refusal as control centers publish them in their policies. `receiving` writes one down, `deciding` is what becomes
of it, `reading` shows them, `upkeep` tells of those that are overdue and forgets who had asked.
"""
