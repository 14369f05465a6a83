"""Reports of an evaluation: JSON, CSV, one HTML page, a table for the terminal, TensorBoard."""
