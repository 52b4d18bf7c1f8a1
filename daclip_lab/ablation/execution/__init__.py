"""How the runs of a study are executed, in this process or in several, and kept on disk."""
