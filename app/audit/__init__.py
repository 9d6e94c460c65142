"""The audit log: entries, their tree, and how they are read."""
