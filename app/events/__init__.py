"""What happens, as kinds with a meaning, and how it is written down."""
