"""tfharden-distill as a script."""

from tfharden.cli.distill import run

if __name__ == "__main__":
    run()
