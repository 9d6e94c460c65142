"""`python -m app …` is `gwanje …`."""

from app.cli import main

main()
