"""The event feed: positions, conversations, and the live fan-out."""
