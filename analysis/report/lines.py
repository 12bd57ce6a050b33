"""What the page draws of single trials: curves over training, values by neuron or feature, matrices.

Trials -> traces, parts, images -> places in the block;  as many as a page should weigh, the front's first
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from monosweep.analysis.figures.data import Selection
from monosweep.analysis.panels import Image, Part
from monosweep.analysis.report.encode import Block, Place, is_numeric
from monosweep.analysis.report.trials import Trials
from monosweep.analysis.search.found import Mask
from monosweep.analysis.tables.root import Root
from monosweep.analysis.tables.storage import identifier, quoted
from monosweep.analysis.tables.weights import last_weights
from monosweep.sweep.store.schema import LIVE

MOST_TRACED = 2_000
"""Trials whose curves are on the page."""
MOST_LIVE = 200
"""Trials in training whose curves are."""
MOST_DETAILED = 400
"""Trials whose neurons or features are."""
MOST_VALUES = 200_000
"""Values of a part's column, over all trials."""
MOST_IMAGES = 16
MOST_PIXELS = 2**20
"""Of one image."""


def ranked(trials: Trials, on_front: Mask) -> NDArray[np.intp]:
    """Places in the table: the front's, then the other completed ones by id, then the rest."""
    order = np.where(on_front, 0, np.where(trials.found.completed, 1, 2))
    return np.argsort(order, kind="stable")


def traces(root: Root, trials: Trials, order: NDArray[np.intp], block: Block) -> dict[str, Any]:
    """Columns of `curves`, with the place of each curve's trial and where it starts."""
    names = _numbers(root, "curves", ("lr",))
    kept = order[:MOST_TRACED]
    found = _rows(root, trials, "curves", ["step", *names], kept, whole=True)
    names = [name for name in names if found[name].null_count < len(found)]
    return {"n": len(kept), **_lines(trials, found, ["step", *names], block), "columns": names}


def live(root: Root, selection: Selection, block: Block) -> dict[str, Any]:
    """Columns of `live_curves`, with the id and the sweep of each curve's trial and where it starts.

    A condition on columns of `trials` reaches no trial in training, which has no row; there are none then.
    """
    names = _numbers(root, LIVE, ("lr",))
    where = "false" if selection.where is not None else _of_sweep(selection)
    # Ids are hashes, so the first of them are a fair sample.
    there = f"SELECT DISTINCT trial_id FROM {LIVE} WHERE {where}"
    n: int = root.sql(f"SELECT count(*) AS n FROM ({there})")["n"][0].as_py()
    found = root.sql(
        f"SELECT sweep, trial_id, step, {', '.join(map(identifier, names))} FROM {LIVE} "
        f"SEMI JOIN (FROM ({there}) ORDER BY trial_id LIMIT {MOST_LIVE}) USING (trial_id) WHERE {where} "
        "ORDER BY sweep, trial_id, step"
    )
    of_row = list(zip(found["sweep"].to_pylist(), found["trial_id"].to_pylist(), strict=True))
    starts = [i for i, one in enumerate(of_row) if i == 0 or one != of_row[i - 1]]
    names = [name for name in names if found[name].null_count < len(found)]
    return {
        "n": n, "trials": [of_row[i][1] for i in starts], "sweeps": [of_row[i][0] for i in starts], "columns": names,
        "starts": block.add(np.array([*starts, len(found)], "<i4")),
        "values": {name: _single(found[name], len(found), block) for name in ("step", *names)},
    }  # fmt: skip


def _of_sweep(selection: Selection) -> str:
    return "true" if selection.sweep is None else f"sweep = {quoted(selection.sweep)}"


def parts(root: Root, trials: Trials, order: NDArray[np.intp], block: Block) -> list[dict[str, Any]]:
    """What the family shows by neuron or feature at its trials' last recorded step."""
    known = root.columns().tables
    return [
        {**asdict(part), "split_into": list(part.split_into), **_part(root, trials, part, order, block)}
        for part in trials.panels.parts
        if part.table in known and {part.column, part.split_by or part.column} <= set(known[part.table].names)
    ]


def _part(root: Root, trials: Trials, part: Part, order: NDArray[np.intp], block: Block) -> dict[str, Any]:
    names = [part.column, *([part.split_by] if part.split_by else [])]
    found = _rows(root, trials, part.table, names, order[:MOST_DETAILED], whole=False)
    return _lines(trials, found, names, block, MOST_VALUES)


def images(root: Root, trials: Trials, order: NDArray[np.intp], block: Block) -> list[dict[str, Any]]:
    """The family's image of the first few trials with weights: values from 0 to 255 between two ends."""
    if trials.panels.image is None:
        return []
    columns = {name: trials.table[name].to_pylist() for name in ("sweep", "pack_id", "trial_id")}
    saved = root.with_weights(set(columns["sweep"]))
    kept = [i for i in order.tolist() if tuple(column[i] for column in columns.values()) in saved]
    return [_image(place, image, block) for place, image in _images(root, trials, kept[:MOST_IMAGES])]


def _images(root: Root, trials: Trials, places: Sequence[int]) -> Iterator[tuple[int, Image]]:
    assert trials.panels.image is not None
    for place in places:
        (row,) = trials.table.slice(place, 1).to_pylist()
        weights = last_weights(root.files, row)
        if weights:
            image = trials.panels.image(weights, row)
            if image.values.size <= MOST_PIXELS:
                yield place, image


def _image(place: int, image: Image, block: Block) -> dict[str, Any]:
    low, high = float(image.values.min()), float(image.values.max())
    scaled = np.rint((image.values - low) / ((high - low) or 1.0) * 255).astype("u1")
    return {
        "trial": place, "title": image.title, "x": image.x, "y": image.y, "low": low, "high": high,
        "rows": len(scaled), "values": block.add(scaled),
    }  # fmt: skip


def _numbers(root: Root, table: str, without: Sequence[str]) -> list[str]:
    schema = root.columns().tables[table]
    return [f.name for f in schema if is_numeric(f.type) and f.name not in ("step", *without)]


def _rows(
    root: Root, trials: Trials, table: str, names: Sequence[str], places: NDArray[np.intp], whole: bool
) -> pa.Table:
    """Columns of a table for the trials at these places, by trial and step; only of the last step, if not `whole`."""
    ids = trials.table["trial_id"].take(pa.array(places)).to_pylist()
    last = "" if whole else "QUALIFY step = max(step) OVER (PARTITION BY trial_id)"
    columns = ", ".join(map(identifier, names))
    return root.sql(
        f"SELECT trial_id, {columns} FROM {identifier(table)} SEMI JOIN (SELECT unnest(?) AS trial_id) "
        f"USING (trial_id) {last} ORDER BY trial_id{', step' if whole else ''}",
        [ids],
    )


def _lines(
    trials: Trials, found: pa.Table, names: Sequence[str], block: Block, most: int | None = None
) -> dict[str, Any]:
    """The places of trials and where the rows of each begin, with the end of the last; and the columns."""
    coded = found["trial_id"].combine_chunks().dictionary_encode()
    of_row = coded.indices.to_numpy(zero_copy_only=False)
    starts = np.flatnonzero(np.diff(of_row, prepend=-1))
    starts = starts[: int((starts <= most).sum())] if most is not None and len(found) > most else starts
    end = len(found) if most is None or len(found) <= most else int(starts[-1])
    starts = starts if end == len(found) else starts[:-1]
    place = {trial_id: i for i, trial_id in enumerate(trials.ids)}
    ids = coded.dictionary.to_pylist()[: len(starts)]
    return {
        "trials": block.add(np.array([place[i] for i in ids], "<i4")),
        "starts": block.add(np.append(starts, end).astype("<i4")),
        "values": {name: _single(found[name], end, block) for name in names},
    }


def _single(values: pa.ChunkedArray, end: int, block: Block) -> Place:
    numbers = np.asarray(values.slice(0, end).cast(pa.float64()).to_numpy(), np.float64)
    return block.add(numbers.astype("<f4"))
