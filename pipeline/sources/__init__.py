"""Sources: where records come from.

In: a stream's config and the position its store remembers. Out: batches of records under their final names
and types, rejects with their raw bytes and the reason, and the position after them.
"""

from pipeline.sources.registry import open_arrivals, open_source
from pipeline.sources.reparse import reparse
from pipeline.sources.source import Batch, Source

__all__ = ["Batch", "Source", "open_arrivals", "open_source", "reparse"]
