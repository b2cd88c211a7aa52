"""Pictures in blocks, and how many classes a batch of them shows."""

from __future__ import annotations

import numpy as np

from inceptory.data.sources.sequences import Blocks, Frozen

BATCH = 64


class Counted(Frozen[bytes]):
    """Pictures in blocks that tells what is read of it: (block, rows) each time."""

    def __init__(self, of_row, size=1000):
        self.of_row, self.size, self.reads = np.asarray(of_row), size, []

    def __len__(self):
        return len(self.of_row)

    def item(self, row):
        return b"%d" % row

    def blocks(self):
        return Blocks(self.of_row, np.full(int(self.of_row.max()) + 1, self.size))

    def read(self, block, rows):
        assert set(self.of_row[rows].tolist()) == {block}
        self.reads.append((block, len(rows)))
        return [self.item(row) for row in rows]


def distinct(labels, order, batch=BATCH):
    """Classes in each batch of an epoch, on average; the last batch is shorter and left out."""
    groups = [labels[rows] for rows in np.array_split(order, np.arange(batch, len(order), batch))[:-1]]
    return np.mean([len(np.unique(group)) for group in groups])
