"""The parts of the explorer's screen, and the pure functions that lay them out."""
