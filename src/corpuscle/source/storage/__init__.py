"""Storage: how files of cells are laid out, read in pieces, checked and watched."""
