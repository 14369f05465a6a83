"""Registries of things by name."""

import pytest

from tfharden._registry import Registry
from tfharden.errors import InputError


def test_things_are_found_by_name_in_their_order():
    known = Registry("shape", {"square": 4})
    assert known.register("triangle")(3) == 3
    assert list(known) == ["square", "triangle"]
    assert known.find("triangle") == known["triangle"] == 3
    assert "circle" not in known


def test_unknown_names_and_names_that_are_taken():
    known = Registry("shape", {"square": 4})
    with pytest.raises(InputError, match=r"^unknown shape 'circle': known are square$"):
        known.find("circle")
    known.register("square")(known["square"])  # the same thing again, as when a module is loaded anew
    with pytest.raises(InputError, match="there is a shape 'square' already"):
        known.register("square")(5)
    with pytest.raises(InputError, match="no name"):
        known.register("")(5)
