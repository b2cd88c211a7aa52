"""What was proved of an exported network, and its page: whether it answers as its model does. Without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from inceptory.measure.metrics import wilson
from inceptory.measure.results import Metrics, percent_range
from inceptory.report import page


@dataclass(frozen=True)
class Speed:
    """On this machine, with all of its cores."""

    p50_ms: float
    """For one picture."""
    p99_ms: float
    runs: int
    """Answers that were timed."""
    images_per_s: float
    """In batches of `batch`."""
    batch: int


@dataclass(frozen=True)
class Proof:
    """What was compared."""

    pictures: int
    data: str | None
    """Where they are from; None: drawn at random."""
    largest_difference: float
    """Of any class's probability in any picture; of vectors where the network has no classifier."""
    agreed: int | None
    """Pictures that both give the same first label; None where nothing real was shown."""
    before: Metrics | None
    """Of PyTorch in fp32, where the pictures have labels."""
    after: Metrics | None
    """Of the export."""
    file_bytes: int
    speed: Speed

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the share of equal first labels."""
        return None if self.agreed is None else wilson(self.agreed, self.pictures)

    def told(self) -> str:
        """The figures in words."""
        largest = f"largest difference of an answer {self.largest_difference:.2g}"
        if self.data is None:
            largest += f" on {self.pictures} random pictures; nothing is proved of real ones (give --data)"
        parts = [largest]
        if self.agreed is not None:
            parts.insert(0, f"same first label as PyTorch in fp32 on {self.agreed:,} of {self.pictures:,} pictures")
        if self.before is not None and self.after is not None:
            parts.append(f"before: {self.before.told()}; after: {self.after.told()}")
        speed = self.speed
        rate = f"{speed.p50_ms:.1f} ms a picture (p99 {speed.p99_ms:.1f}), {speed.images_per_s:,.1f} images/s"
        return "; ".join([*parts, f"{self.file_bytes / 2**20:.1f} MiB", rate])

    def figures(self) -> dict[str, str]:
        """Each number under what it means, for the head of the page."""
        speed, figures = self.speed, {}
        if self.agreed is not None and self.interval is not None:
            count = f"{self.agreed:,} of {self.pictures:,}"
            meaning = f"same first label as PyTorch, {count}, 95 % interval {percent_range(self.interval)}"
            figures[meaning] = f"{100 * self.agreed / self.pictures:.2f} %"
        figures["largest difference of an answer"] = f"{self.largest_difference:.2g}"
        figures["MiB in the network's files"] = f"{self.file_bytes / 2**20:.1f}"
        figures[f"ms for one picture: median of {speed.runs}"] = f"{speed.p50_ms:.1f}"
        figures["ms for one picture: 99 of 100 take less"] = f"{speed.p99_ms:.1f}"
        figures[f"images/s in batches of {speed.batch}"] = f"{speed.images_per_s:,.1f}"
        return figures

    def to_json(self) -> dict[str, Any]:
        """Plain values; shares from 0 to 1."""
        agreement = None
        if self.agreed is not None:
            share = self.agreed / self.pictures
            agreement = {"same": self.agreed, "n": self.pictures, "share": share, "interval": self.interval}
        return {
            "pictures": self.pictures,
            "data": self.data,
            "largest_difference": self.largest_difference,
            "agreement": agreement,
            "before": None if self.before is None else self.before.to_json(),
            "after": None if self.after is None else self.after.to_json(),
            "file_bytes": self.file_bytes,
            "speed": asdict(self.speed),
        }


def proof_page(title: str, proof: Proof, facts: Mapping[str, object], lines: str) -> str:
    """The page; `facts` say what was exported, `lines` run it."""
    rows: list[tuple[str, str, str]] = []
    if proof.before is not None and proof.after is not None:
        before, after = proof.before.figures(""), proof.after.figures("")
        # The first number bears its interval in its meaning, which differs.
        rows = [
            (meaning.partition(",")[0].strip(), number, other)
            for (meaning, number), other in zip(before.items(), after.values(), strict=True)
        ]
        one, other = (f"{percent_range(each.interval)} %" for each in (proof.before, proof.after))
        rows.insert(1, ("95 % interval", one, other))
    return page.render("proof.html.j2", title=title, proof=proof, rows=rows, facts=facts, lines=lines.splitlines())
