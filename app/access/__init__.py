"""Who may: people and their sessions, roles, agreements and rights."""
