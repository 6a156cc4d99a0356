import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.image import imread

from linen_train import plot_learning_curve
from linen_train.errors import MissingExtraError, PlotError
from linen_train.writers import JSONLWriter

ROWS = [
    {"step": 2, "loss": 1.0, "accuracy": 0.5},
    {"step": 1, "loss": 2.0},
    {"step": 2, "test_loss": 1.5, "eval/accuracy": 0.25},
    {"step": 3, "loss": np.float32(0.5), "learning_rate": 0.1},
]
Curves = dict[str, dict[str, list[tuple[float, float]]]]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Curves:
    """Record the points of every curve by panel, while they are drawn."""
    curves: Curves = {}
    plot, label = Axes.plot, Axes.set_ylabel

    def record(axes: Any, steps: Any, values: Any, **options: Any) -> Any:
        axes.recorded = {
            **getattr(axes, "recorded", {}),
            options["label"]: list(zip(steps, values, strict=True)),
        }
        return plot(axes, steps, values, **options)

    def named(axes: Any, name: str, **options: Any) -> Any:
        curves[name] = axes.recorded
        return label(axes, name, **options)

    monkeypatch.setattr(Axes, "plot", record)
    monkeypatch.setattr(Axes, "set_ylabel", named)
    return curves


EXPECTED: Curves = {
    "loss": {"loss": [(1, 2.0), (2, 1.0), (3, 0.5)], "test_loss": [(2, 1.5)]},
    "accuracy": {"accuracy": [(2, 0.5)], "eval/accuracy": [(2, 0.25)]},
    "learning_rate": {"learning_rate": [(3, 0.1)]},
}


def test_metrics_share_a_panel_with_what_differs_in_a_prefix(drawn: Curves, tmp_path: Path) -> None:
    plot_learning_curve(ROWS, tmp_path / "made" / "curve.png")
    assert drawn == EXPECTED
    picture = imread(tmp_path / "made" / "curve.png")
    assert picture.shape == (480, 1800, 4)
    assert picture[..., :3].min() < 0.2 < 0.9 < picture.max()


def test_chosen_panels(drawn: Curves, tmp_path: Path) -> None:
    plot_learning_curve(iter(ROWS), tmp_path / "curve.png", metrics=["accuracy"])
    assert drawn == {"accuracy": EXPECTED["accuracy"]}


def test_from_a_file(drawn: Curves, tmp_path: Path) -> None:
    with JSONLWriter(tmp_path / "metrics.jsonl") as writer:
        for row in sorted(ROWS, key=lambda row: row["step"]):
            writer.write(int(row["step"]), {k: v for k, v in row.items() if k != "step"})
        writer.write(4, {"learning_rate": float("nan")})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')  # a run that was killed
    plot_learning_curve(tmp_path / "metrics.jsonl", tmp_path / "curve.png")
    (last,) = drawn["learning_rate"].values()
    np.testing.assert_equal(last, [(3, 0.1), (4, np.nan)])
    del drawn["learning_rate"]
    assert drawn == {name: EXPECTED[name] for name in ("loss", "accuracy")}


def test_epochs(drawn: Curves, tmp_path: Path) -> None:
    plot_learning_curve([{"epoch": 1, "loss": -1.0}], str(tmp_path / "curve.png"))
    assert drawn == {"loss": {"loss": [(1, -1.0)]}}


def test_what_is_not_finite_is_a_gap(drawn: Curves, tmp_path: Path) -> None:
    rows = [{"step": 0, "loss": np.inf}, {"step": 1, "loss": 1.0}, {"step": 2, "loss": "-Infinity"}]
    plot_learning_curve(rows, tmp_path / "curve.png")
    np.testing.assert_equal(drawn["loss"]["loss"], [(0, np.nan), (1, 1.0), (2, np.nan)])


def test_the_backend_of_pyplot_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    plot_learning_curve(ROWS, tmp_path / "curve.png")
    assert "matplotlib.pyplot" not in sys.modules


@pytest.mark.parametrize(
    ("history", "options", "text"),
    [
        ([], {}, 'found no rows, expected rows with a "step", or all with an "epoch".'),
        (
            [{"step": 1, "loss": 1.0}, {"loss": 1.0, "accuracy": 0.5}],
            {},
            'found a row with accuracy, loss alone, expected rows with a "step", or all with an '
            '"epoch".',
        ),
        (
            [("step", 1)],
            {},
            'found (\'step\', 1) in the history, expected rows like {"step": 3, "loss": 0.5}.',
        ),
        ([{"step": 1}], {}, "found the metrics [], expected at least one."),
        (
            ROWS,
            {"metrics": ["loss", "error"]},
            "found the metrics ['accuracy', 'learning_rate', 'loss'], expected those and error.",
        ),
        (
            [{"step": 1, "loss": "low"}],
            {},
            "found 'loss' with the value 'low', expected a number.",
        ),
    ],
    ids=["nothing", "no_step", "no_row", "no_metric", "other_metric", "text"],
)
def test_what_cannot_be_drawn(history: Any, options: Any, text: str, tmp_path: Path) -> None:
    with pytest.raises(PlotError) as caught:
        plot_learning_curve(history, tmp_path / "curve.png", **options)
    assert str(caught.value) == f"plot_learning_curve: {text}"
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_something_else(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    file.write_text("step,loss\n1,2\n")
    with pytest.raises(PlotError) as caught:
        plot_learning_curve(file, tmp_path / "curve.png")
    assert str(caught.value) == (
        f"plot_learning_curve: found 'step,loss' in line 1 of {file}, expected rows that a "
        "JSONLWriter wrote."
    )


def test_the_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError) as caught:
        plot_learning_curve(ROWS, tmp_path / "curve.png")
    assert str(caught.value) == (
        "plot_learning_curve: found no module 'matplotlib.figure', expected it to be installed. "
        "Write pip install 'linen-train[plot]'."
    )
