"""All that the runs of a game share."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from flam_train.engine import FitConfig
from flam_train.store.store import EpisodeStore
from flam_train.studies.policies.runs import CLONING, Run
from flam_train.studies.runs import Study


@dataclass(frozen=True, kw_only=True)
class PolicyStudy(Study):
    """All that the runs of a game share.

    Attributes:
        game: bigfish, leaper or starpilot.
        data: store of the demonstrations.
        demonstrator: file of who plays in the store.
        features: the network of all policies.
        fit: budget and optimiser of all policies.
    """

    game: str
    data: Path
    demonstrator: Path
    features: Literal["nature", "impala"]
    fit: FitConfig

    @property
    def pseudo_labels(self) -> Path:
        """Folder of what the models say of the store."""
        return self.runs / "pseudo-labels"

    @property
    def frames(self) -> Path:
        """Folder of all frames that there are true actions of, as long as policies learn from them."""
        return self.runs / "frames"

    def settings(self, run: Run) -> dict[str, Any]:
        """What a report says of how it came about, JSON-able."""
        store = EpisodeStore.open(self.data)
        shared = {"game": self.game, "features": self.features, "fit": asdict(replace(self.fit, seed=run.seed))}
        made = {"cloning": asdict(CLONING), "demonstrations": store.identity()}
        return json.loads(json.dumps(asdict(run) | shared | made))
