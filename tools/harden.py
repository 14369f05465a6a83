"""tfharden-harden as a script."""

from tfharden.cli.harden import run

if __name__ == "__main__":
    run()
