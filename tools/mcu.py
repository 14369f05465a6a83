"""tfharden-mcu as a script."""

from tfharden.cli.mcu import run

if __name__ == "__main__":
    run()
