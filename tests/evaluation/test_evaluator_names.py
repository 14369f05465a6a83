"""Attacks of one name in one evaluation."""

import tfharden as th
from tests._helpers.linear_models import THREAT, examples, linear
from tfharden.attacks import PGD, Square
from tfharden.evaluation.names import distinct


def test_attacks_of_one_name_are_numbered_wherever_the_report_names_them(tmp_path):
    told = []
    attacks = [PGD(THREAT, steps=1), "fgsm", PGD(THREAT, steps=9), Square(THREAT, queries=5), PGD(THREAT, steps=3)]
    report = th.evaluate(
        [linear(name="one"), linear(bias=(0.3, 0.0), name="two")],
        examples(40),
        THREAT,
        attacks,
        progress=lambda label, share: told.append(label),
    )
    names = ["pgd", "fgsm", "pgd #2", "square", "pgd #3"]
    for model in report.content["models"]:
        assert [attack["name"] for attack in model["attacks"]] == model["worst_case"]["attacks"] == names
        steps = {attack["name"]: attack["parameters"].get("steps") for attack in model["attacks"]}
        assert (steps["pgd"], steps["pgd #2"], steps["pgd #3"]) == (1, 9, 3)
    assert list(dict.fromkeys(told))[:5] == [f"one: {name}" for name in names]
    header = next(line for line in report.table().splitlines() if line.startswith("model"))
    assert header.split(" %")[1:-2] == ["  pgd", "  fgsm", "  pgd #2", "  square", "  pgd #3"]
    row = next(line for line in report.table().splitlines() if line.startswith("one")).split()
    found = [attack["robust_accuracy"] for attack in report.content["models"][0]["attacks"]]
    assert row[4:9] == [f"{100 * share:.1f}" for share in found]
    report.save(tmp_path)


def test_the_gallery_names_the_strongest_by_the_reports_name():
    class Idle(Square):
        name = "pgd"

        def _search(self, classifier, search):
            pass

    report = th.evaluate([linear()], examples(40), THREAT, [Idle(THREAT), PGD(THREAT, steps=20)])
    assert report.gallery[0].attack == "pgd #2"


def test_names_are_counted_in_their_order():
    assert distinct(["a", "b", "a", "a", "b"]) == ["a", "b", "a #2", "a #3", "b #2"]
