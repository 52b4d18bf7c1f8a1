"""How the command line runs trainings."""
