"""tfharden-compress as a script."""

from tfharden.cli.compress import run

if __name__ == "__main__":
    run()
