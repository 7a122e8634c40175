"""The README's pictures, from a demo that just ran: `make pictures`.

In: what the demo said, what arrived, what MLflow has. Out: demo.svg, alert.png, reconstruction.png and
page-*.png.
"""

from __future__ import annotations

import base64
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.demo import shots, show
from pipeline.steps import Offbeat

if TYPE_CHECKING:
    from pipeline.demo.desk import Desk
    from pipeline.workspace import Workspace

STREAM, PAYMENTS = "pump_station", "card_payments"


def write(folder: Path, say: show.Say, desk: Desk, work: Workspace) -> None:
    """Write the pictures; those of the first sensor stream that has some."""
    folder.mkdir(parents=True, exist_ok=True)
    say.console.save_svg(str(folder / "demo.svg"), title="make demo", clear=False)
    if worst := show.worst(desk, STREAM):
        (folder / "alert.png").write_bytes(base64.b64decode(worst["picture"]["base64"]))
    if best := work.registry.champion(STREAM):
        with tempfile.TemporaryDirectory() as fetched:
            figure = work.registry.figure(best.run_id, "reconstruction", Path(fetched))
            shutil.copy(figure, folder / "reconstruction.png")
    if not shots.write(folder, Offbeat(work.home, work.project), STREAM, PAYMENTS):
        say.console.print("No pictures of the Anomalies page: there is no chromium here.")
