"""Measures how well a model does on data that it has not seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def run(data: str, model: str, output_dir: str) -> dict[str, Any]:
    """Write ``metrics.json`` and ``confusion.png``. Return the metrics and the paths of both files."""
    import joblib
    import numpy as np
    from sklearn.metrics import accuracy_score, confusion_matrix

    with np.load(data) as arrays:
        images, labels = arrays["test_x"], arrays["test_y"]
    predicted = joblib.load(model).predict(images)
    accuracy = round(float(accuracy_score(labels, predicted)), 4)
    matrix = confusion_matrix(labels, predicted)
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    metrics = {"accuracy": accuracy, "errors": int((labels != predicted).sum()), "of": len(labels)}
    (folder / "metrics.json").write_text(json.dumps({**metrics, "confusion": matrix.tolist()}))
    _plot(matrix, f"{Path(model).stem}: {accuracy:.1%} of {len(labels)} digits right", folder)
    print(f"accuracy {accuracy:.4f}, {metrics['errors']} of {metrics['of']} wrong")
    return {
        **metrics,
        "metrics": str(folder / "metrics.json"),
        "plot": str(folder / "confusion.png"),
    }


def _plot(matrix: Any, title: str, folder: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import numpy as np
    from matplotlib import pyplot as plt

    shares = matrix / matrix.sum(axis=1, keepdims=True)
    figure, axes = plt.subplots(figsize=(6.5, 6), layout="constrained")
    axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            color = "white" if shares[row, column] > 0.4 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=color)
    axes.set(title=title, xlabel="predicted digit", ylabel="true digit")
    axes.set_xticks(range(10))
    axes.set_yticks(range(10))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.savefig(folder / "confusion.png", dpi=130)
    plt.close(figure)
