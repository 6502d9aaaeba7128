"""Models: what they are (cards), where they are (catalogue) and how they run (engines)."""
