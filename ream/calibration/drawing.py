"""What draws calibration sequences from a source's documents, as the settings say: one document each, or packed."""

from collections.abc import Iterable
from typing import Protocol

from ream.calibration.document import Document
from ream.calibration.packed_documents import draw_packed, packing_of
from ream.calibration.sampling import Drawn, draw, windows_of
from ream.calibration.sources import TextSource
from ream.calibration.tokenizer import Encoder
from ream.params import BuiltinSource, Calibration


class Draw(Protocol):
    """Draws from documents, which may be endless."""

    def __call__(self, documents: Iterable[Document], sequences: int | None = None, needed: int | None = None) -> Drawn:
        """See `ream.calibration.sampling.draw`."""


def drawing(source: TextSource, encoder: Encoder, calibration: Calibration, end: int | None) -> Draw:
    """What draws a source's sequences.

    Args:
        source: gives ``windows``, if it has them.
        encoder: the model's tokenizer.
        calibration: the settings.
        end: id of the model's end token, if it has one.

    Raises:
        UserError: see `packing_of`.
    """
    given = 1 if isinstance(source, BuiltinSource) else source.windows
    most = None if given == "all" else given
    if calibration.packing:
        packing = packing_of(encoder, calibration.separator, end, most)
        return lambda documents, sequences=None, needed=None: draw_packed(
            documents, packing, calibration, sequences, needed
        )
    windows = None if most == 1 else windows_of(encoder.plain, encoder.special, most)
    return lambda documents, sequences=None, needed=None: draw(
        documents, encoder.encode, calibration, sequences, windows, needed
    )
