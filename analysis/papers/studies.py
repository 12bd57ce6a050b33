"""All papers that are reproduced: whoever adds one adds a line here.  Torch-free and matplotlib-free.

Root + names of studies -> check -> verdicts -> `monosweep claims`
"""

from __future__ import annotations

from collections.abc import Sequence

from monosweep.analysis.claims import verdict
from monosweep.analysis.claims.study import Study
from monosweep.analysis.claims.verdict import Verdict
from monosweep.analysis.papers.bhagat2026.claims import BHAGAT2026
from monosweep.analysis.papers.elhage2022.claims import ELHAGE2022
from monosweep.analysis.papers.jermyn2017.claims import JERMYN2017
from monosweep.analysis.papers.jermyn2022.claims import JERMYN2022
from monosweep.analysis.papers.lecomte2023.claims import LECOMTE2023
from monosweep.analysis.papers.scherlis2022.claims import SCHERLIS2022
from monosweep.analysis.papers.schindler2020.claims import SCHINDLER2020
from monosweep.analysis.tables.built_in import built_in
from monosweep.analysis.tables.root import Root
from monosweep.model.config import UserError, unknown_name

STUDIES: tuple[Study, ...] = (JERMYN2022, SCHERLIS2022, ELHAGE2022, LECOMTE2023, BHAGAT2026, SCHINDLER2020, JERMYN2017)
"""In the order in which their verdicts are told."""


class StudyError(UserError):
    """A study that there is not."""


def named(names: Sequence[str]) -> Sequence[Study]:
    """The studies of these names, or all.

    Raises:
        StudyError: if a name is none.
    """
    known = {study.name: study for study in STUDIES}
    for name in names:
        if name not in known:
            raise StudyError(unknown_name("study", name, tuple(known)))
    return [known[name] for name in dict.fromkeys(names)] or STUDIES


def check(root: Root, studies: Sequence[Study] = STUDIES, where: str | None = None) -> list[Verdict]:
    """A verdict on each claim of each study, as `claims.verdict.check`.

    Raises:
        QueryError: if the SQL condition `where` is at fault.
    """
    return verdict.check(root, studies, where)


def lacking(root: Root, studies: Sequence[Study] = STUDIES) -> str | None:
    """What to tell of a root that has no trial which these studies could be about."""
    here = root.sql("SELECT DISTINCT family FROM trials ORDER BY ALL")["family"].to_pylist()
    about = list(dict.fromkeys(family for study in studies for family in study.families))
    if set(map(built_in, here)) & set(about):
        return None
    instead = f"; it has {', '.join(here)}" if here else ""
    return f"{root.uri} holds no trial of family {' or '.join(about)}, which these claims are about{instead}"
