"""`python -m posecli` is the `posecli` command."""

from posecli.cli import main

if __name__ == "__main__":
    main()
