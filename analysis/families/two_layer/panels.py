"""What the page shows of a two-layer toy model.  matplotlib-free.

weights + row -> response_image -> the page
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monosweep.analysis.families.two_layer.responses import displayed, network_config, responses
from monosweep.analysis.panels import Image, Panels, Part


def response_image(weights: Mapping[str, NDArray[np.floating]], row: Mapping[str, Any]) -> Image:
    """The response map of a trial (the paper's Figures 4, 10 and 20), in display order.

    Raises:
        ValueError: if its activation is of a user's file.
    """
    config = network_config(row)
    found = displayed(responses(weights, config), config.mono_threshold)
    return Image(
        found.response, f"Response map: {found.n_mono} of {len(found.response)} neurons are monosemantic",
        "feature, by the neuron it drives", "neuron, by r (most monosemantic on top)",
    )  # fmt: skip


PANELS = Panels(
    objectives=("loss:min", "mono_per_feature:max"),
    parts=(
        Part(table="neurons", column="bias", label="bias", split_by="r", split_at="mono_threshold",
             split_into=("monosemantic", "others")),
        Part(table="neurons", column="r", label="monosemanticity r", kind="cdf"),
    ),
    image=response_image,
    figures=("bias", "response"),
)  # fmt: skip
