"""The commands of `daclip-lab`, a module for each group; `cli` puts them together."""
