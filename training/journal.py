"""What a run reported, a JSON object a line, in `history.jsonl`; `evaluation.curves` reads it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from training.errors import SnapshotError

FILE = "history.jsonl"

Report = Mapping[str, float]
"""`step` and `epoch` that were finished; means of the stage's figures (`loss`, `reward`, …) since the report
before, or since the run was resumed; what it measured (`cider`, `dev_loss`, `perplexity`, …)."""


@dataclass
class Journal:
    """The reports of a run, on disk after each one."""

    path: Path
    reports: list[Report]

    @classmethod
    def until(cls, path: Path, step: int) -> "Journal":
        """Read what was reported up to `step`; what came later will be reported again."""
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        try:
            reports = [json.loads(line) for line in lines]
            return cls(path, [report for report in reports if report["step"] <= step])
        except (ValueError, TypeError, KeyError) as error:
            raise SnapshotError(f"{path} is no history of a run: {error!r}") from None

    def add(self, report: Report) -> None:
        """Append a report; the file is written aside and renamed, so that no line is ever cut."""
        self.reports.append(report)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        aside = self.path.with_suffix(".aside")
        aside.write_text("".join(json.dumps(line) + "\n" for line in self.reports), encoding="utf-8")
        aside.replace(self.path)

    def is_better(self, report: Report) -> bool:
        """Whether a report has a higher dev CIDEr than all before it, or no such score."""
        best = self.best()
        return best is None or "cider" not in report or report["cider"] > best["cider"]

    def best(self) -> Report | None:
        """Return the first report of the highest dev CIDEr, None where there is none."""
        scored = [report for report in self.reports if "cider" in report]
        return max(scored, key=lambda report: report["cider"], default=None)

    def exhausted(self, patience: int | None) -> bool:
        """Whether dev CIDEr has not risen for `patience` epochs."""
        best = self.best()
        if patience is None or best is None:
            return False
        return self.reports[-1]["epoch"] - best["epoch"] >= patience
