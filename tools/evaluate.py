"""tfharden-evaluate as a script."""

from tfharden.cli.evaluate import run

if __name__ == "__main__":
    run()
