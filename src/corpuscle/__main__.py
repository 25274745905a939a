"""``python -m corpuscle``: the command line."""

from corpuscle.cli import main

if __name__ == "__main__":
    main()
