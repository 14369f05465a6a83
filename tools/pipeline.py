"""tfharden-pipeline as a script."""

from tfharden.cli.pipeline import run

if __name__ == "__main__":
    run()
