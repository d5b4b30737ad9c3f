"""Breast tumours under the microscope."""

from __future__ import annotations

import datasets


def tumours() -> datasets.Dataset:
    """Read the 569 tumours of Street, Wolberg and Mangasarian, "Nuclear feature extraction for breast tumor diagnosis", 1993.

    They come with scikit-learn (extra `recipes`).

    Returns:
        Rows of ten measures of the cell nuclei, `mean_radius` to `mean_fractal_dimension`, and their standard errors
        (`radius_error` ...). The labels are `diagnosis` (benign or malignant), and `worst_area` and `worst_texture`, which are
        those of the three largest nuclei. A quarter of the diagnoses is removed, as an example of missing labels.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_breast_cancer
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("These data need scikit-learn: pip install 'lightning-mtl[recipes]'") from error
    found = load_breast_cancer(as_frame=True)
    frame = found.data.rename(columns=lambda name: name.replace(" ", "_"))
    worst = [name for name in frame if name.startswith("worst_") and name not in ("worst_area", "worst_texture")]
    frame = frame.drop(columns=worst)
    names = list(found.target_names)
    frame["diagnosis"] = [names[number] if row % 4 else None for row, number in enumerate(found.target)]
    return datasets.Dataset.from_pandas(frame, preserve_index=False)
