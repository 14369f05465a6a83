from tfharden.evaluation.formats import distinct


def test_names_are_counted_in_their_order():
    assert distinct(["a", "b", "a", "a", "b"]) == ["a", "b", "a #2", "a #3", "b #2"]
