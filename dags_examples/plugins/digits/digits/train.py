"""Trains several models, each in its own Ray task."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import ray


def candidates(trees: int) -> dict[str, Any]:
    """Return untrained models, keyed by name."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC

    return {
        "forest": RandomForestClassifier(n_estimators=trees, random_state=0),
        "logistic": LogisticRegression(max_iter=500),
        "neighbours": KNeighborsClassifier(n_neighbors=5),
        "svm": SVC(gamma=0.1, C=5.0),
    }


@ray.remote(num_cpus=0.5)
def fit(name: str, model: Any, data: str, output_dir: str) -> dict[str, Any]:
    """Train one model, save it, and return its accuracy in cross-validation."""
    import joblib
    import numpy as np
    from sklearn.model_selection import cross_val_score

    began = time.monotonic()
    with np.load(data) as arrays:
        images, labels = arrays["train_x"], arrays["train_y"]
    accuracy = float(cross_val_score(model, images, labels, cv=3).mean())
    path = Path(output_dir, f"{name}.joblib")
    joblib.dump(model.fit(images, labels), path)
    seconds = round(time.monotonic() - began, 2)
    return {"name": name, "accuracy": round(accuracy, 4), "model": str(path), "seconds": seconds}


def run(data: str, output_dir: str, trees: int = 100) -> dict[str, Any]:
    """Train all candidates. Return the accuracy of each, and the best one."""
    ray.init(log_to_driver=False)
    Path(output_dir).mkdir(parents=True, exist_ok=True)
    pending = [
        fit.remote(name, model, data, output_dir) for name, model in candidates(trees).items()
    ]
    total, results = len(pending), []
    while pending:
        done, pending = ray.wait(pending)
        results += ray.get(done)
        bar = "█" * len(results) + "░" * (total - len(results))
        print(f"training {bar} {len(results)}/{total}", end="\r", flush=True)
    print()
    results.sort(key=lambda result: -result["accuracy"])
    print("\nmodel          accuracy   seconds")
    for result in results:
        print(f"  {result['name']:<12} {result['accuracy']:>7.4f}   {result['seconds']:>7.2f}")
    print(f"\n✓ best: {results[0]['name']}")
    return {"models": results, "best": results[0]["name"], "best_model": results[0]["model"]}
