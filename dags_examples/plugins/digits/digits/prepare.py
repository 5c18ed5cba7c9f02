"""Splits the data into training and test data."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def run(output_dir: str, test_share: float = 0.3, seed: int = 0) -> dict[str, Any]:
    """Write training and test data to ``output_dir`` and return their path and sizes."""
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    print(f"Loaded {len(labels)} images of {images.shape[1]} pixels.")
    train_x, test_x, train_y, test_y = train_test_split(
        images / images.max(), labels, test_size=test_share, random_state=seed, stratify=labels
    )
    path = Path(output_dir, "digits.npz")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, train_x=train_x, train_y=train_y, test_x=test_x, test_y=test_y)
    print("Split:")
    print(f"    train  {len(train_y):>5}")
    print(f"    test   {len(test_y):>5}")
    return {"data": str(path), "train": len(train_y), "test": len(test_y)}
