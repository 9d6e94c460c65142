"""Reviews (접속기록 점검): once a month each institution looks at a drawn sample of accesses and at what is unusual.

Source: 개인정보의 안전성 확보조치 기준 (notice under PIPA 29), art. 8: the log of accesses is checked once a month at
least, and misuse is answered. A review opens by itself when the month is over (`opening`), for entries that came late
as soon as they came (`late`); a named officer answers each finding and signs (`deciding`); `reading` shows them, and
`reminders` tells of those that nobody has signed in time.
"""
