"""tfharden-export as a script."""

from tfharden.cli.export import run

if __name__ == "__main__":
    run()
