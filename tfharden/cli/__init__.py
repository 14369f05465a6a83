"""Command line of tfharden: one module a tool, which holds its configuration and its `main`.

A tool's configuration is a frozen dataclass, built from the flags before TensorFlow is imported.
"""
