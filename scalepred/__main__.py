"""Runs the command line as ``python -m scalepred``."""

from scalepred.cli import main

if __name__ == "__main__":
    main()
