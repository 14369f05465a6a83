"""Models, files and runs that several tests share."""
