"""How models write answers."""
