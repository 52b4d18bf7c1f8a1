"""What people look at and move: figures and widgets that take data and compute nothing."""
