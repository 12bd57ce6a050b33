"""Which parts of a root's tables are shown, and what of each: every pack once, nothing of parts that cannot be read.

Files.parts -> Parts.pieces -> views.py
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress

from monosweep.analysis.tables.storage import Files, Part, Piece
from monosweep.sweep.store.parts import Beaten, Standing, beaten, current, damage, holder_of, pack_of, units_of
from monosweep.sweep.store.schema import ASKED


class Parts:
    """The parts of one root, and what was learnt of them so far."""

    def __init__(self, files: Files, notice: Callable[[str], None]) -> None:
        self.files = files
        self.notice = notice
        """Told, once each, about parts that cannot be read."""
        self._left_out: set[Part] = set()
        self._known: dict[Part, int | frozenset[str] | None] = {}
        """Of parts that were looked into: the fingerprint of a single one's columns, the packs of a merged one."""

    def here(self, tables: Sequence[str]) -> set[Part]:
        """All parts of these tables at this moment."""
        return {part for table in tables for part in self.files.parts(table, ".parquet")}

    def pieces(self, table: str, committed: Mapping[str, set[str]] | None = None) -> list[Piece]:
        """What the parts of a table show: each pack once, nothing from those that cannot be read.

        Rows of `asked` belong to no pack, so that nothing of a part can be left out; its view shows each once.

        Args:
            committed: as `units` says; None where every part counts.
        """
        parts = {part.path: part for part in self.files.parts(table, ".parquet")}
        sweeps = defaultdict[str, dict[str, frozenset[str]]](dict)
        for path, part in parts.items():
            if part not in self._left_out and (held := self._packs(part)) is not None:
                sweeps[part.sweep][path] = held
        shown = {path: others for held in sweeps.values() for path, others in current(held).items()}
        elsewhere = dict.fromkeys(shown, frozenset[str]()) if table == ASKED else shown
        pieces = []
        for path, part in sorted((path, parts[path]) for path in shown):
            there = committed is None or not sweeps[part.sweep][path].isdisjoint(committed.get(part.sweep, ()))
            pieces.append(Piece(part, self._columns(part), elsewhere[path], there))
        return [piece for piece in pieces if piece.part not in self._left_out]

    def units(self, trials: Sequence[Piece]) -> dict[str, set[str]]:
        """By sweep, the units in parts of `trials`: what is committed."""
        units = defaultdict[str, set[str]](set)
        for piece in trials:
            units[piece.part.sweep] |= self._packs(piece.part) or frozenset()
        return dict(units)

    def in_several(self, trials: Sequence[Piece]) -> bool:
        """Whether a pack is in several parts of `trials`, so that its units may overlap."""
        packs = Counter(pack for piece in trials for pack in self._shown(piece))
        return any(count > 1 for count in packs.values())

    def beaten(self, trials: Sequence[Piece], members: Collection[tuple[str, str, str]]) -> Beaten:
        """Of members (sweep, pack_id, trial_id) with several rows in `trials`, which parts do not show them."""
        wanted, packs = set(members), {(sweep, pack) for sweep, pack, _ in members}
        holding = [piece for piece in trials if packs & self._shown(piece)]
        rows = [row for piece in holding for row in self._standing(piece)]
        return beaten(row for row in rows if (row.sweep, row.pack_id, row.trial_id) in wanted)

    def _shown(self, piece: Piece) -> set[tuple[str, str]]:
        """(sweep, pack_id) of the packs that a piece shows."""
        packs = set(map(pack_of, self._packs(piece.part) or ())) - piece.elsewhere
        return {(piece.part.sweep, pack) for pack in packs}

    def _standing(self, piece: Piece) -> list[Standing]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        with pq.ParquetFile(pa.BufferReader(self.files.read(piece.part.path)), page_checksum_verification=True) as file:
            rows = file.read(["pack_id", "trial_id", "status", "finished_at"]).to_pylist()
        place = piece.part.sweep, holder_of(piece.part.path)
        return [Standing(*place, **row) for row in rows if row["pack_id"] not in piece.elsewhere]

    def _packs(self, part: Part) -> frozenset[str] | None:
        """The packs in a part; None, and left out, if it cannot say."""
        if not part.merged:
            return units_of(part.path, None)
        if part not in self._known:
            footer = self.files.footer(part.path)
            if isinstance(footer, str):
                self.leave_out(part, footer)
                return None
            self._known[part] = units_of(part.path, footer)
        packs = self._known[part]
        assert isinstance(packs, frozenset)
        return packs

    def _columns(self, part: Part) -> int | None:
        """The fingerprint of a single part's columns; the part is left out if it is damaged."""
        if part.merged:
            return None
        if part not in self._known:
            found = self.files.check(part) if part.size else "it is empty"
            if isinstance(found, str):
                self.leave_out(part, found)
                return None
            self._known[part] = found
        columns = self._known[part]
        assert not isinstance(columns, frozenset)
        return columns

    def leave_out_damaged(self, parts: Sequence[Part]) -> bool:
        """Read these parts through, and leave out those that are damaged; whether any is.

        Raises:
            OSError: if one is there and cannot be read, which does not make it damaged.
        """
        before = len(self._left_out)
        for part in parts:
            with suppress(FileNotFoundError):
                if reason := damage(self.files.read(part.path)):
                    self.leave_out(part, reason)
        return len(self._left_out) > before

    def leave_out(self, part: Part, reason: str) -> None:
        """Show nothing of `part` from now on; `notice` is told once."""
        if part not in self._left_out:
            self._left_out.add(part)
            self.notice(f"left out {part.path}, which cannot be read: {reason}")
