"""The parts of the restoration lab: its settings, what it computes, and what is seen of it."""
