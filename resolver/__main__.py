"""``python -m resolver``: the same as ``pydns``."""

from resolver.cli.main import main

if __name__ == "__main__":
    main()
