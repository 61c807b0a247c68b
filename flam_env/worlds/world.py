"""What a learned world is, in memory: two networks, how they are run, real starts, and what else was learned."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import inf
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from flam_env.heads.action_decoder import ActionDecoder
from flam_env.heads.action_encoder import ActionEncoder
from flam_env.heads.player_finder import PlayerFinder
from flam_env.heads.road import Road
from flam_env.models.protocol import WorldModel
from flam_env.models.tokenizer import Tokenizer
from flam_env.validation import check_fields
from flam_env.video.frames import Fit
from flam_env.worlds.checkpoint import fingerprint
from flam_env.worlds.laws import Laws
from flam_env.worlds.units import ActionUnits


@dataclass(frozen=True, kw_only=True)
class WorldSettings:
    """How a world is meant to be run.

    Raises:
        ValueError: a field of another type, or a number below 1.
    """

    BEFORE: ClassVar[dict[str, Any]] = {"fit": "stretch"}
    """What fields mean that older worlds lack."""

    source: str
    """Where its videos came from, e.g. procgen/bigfish."""
    context: int = 2
    """Real frames that a dream starts from."""
    horizon: int = 16
    """Steps for which the card shows that dreams hold."""
    frames_per_second: float = 15
    """Speed of the videos."""
    fit: Fit = "stretch"
    """How frames of videos became square."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 < self.frames_per_second < inf:
            raise ValueError(f"expected frames_per_second of WorldSettings above 0, got {self.frames_per_second}")


@dataclass(frozen=True)
class Starts:
    """Real clips to start dreams from, and real actions to draw.

    tokens: (S, T, N) int64, clips whose first `context` frames are a start; actions: (S, T - 1, K, A) float32, the
    clips' own inferred actions; bank: (M, K, A) float32, actions inferred elsewhere in the data. All in action units;
    codes (S, T - 1, K) and (M, K) int64 where the model's actions are codes.
    """

    tokens: Tensor
    actions: Tensor
    bank: Tensor


@dataclass(frozen=True)
class World:
    """A whole learned world, loaded.

    units: None where actions are codes. heads: what else was learned of it, by name: "decoder" and "encoder" of real
    actions, "player_finder", "road", "token_sampler", "reward", "end".
    """

    tokenizer: Tokenizer
    model: WorldModel
    settings: WorldSettings
    units: ActionUnits | None
    starts: Starts
    laws: Laws = field(default_factory=Laws)
    heads: Mapping[str, nn.Module] = field(default_factory=dict)

    @property
    def decoder(self) -> ActionDecoder | None:
        """Tells real actions from latent ones, if that was learned."""
        return cast(ActionDecoder | None, self.heads.get("decoder"))

    @property
    def encoder(self) -> ActionEncoder | None:
        """Tells latent actions from real ones, if that was learned."""
        return cast(ActionEncoder | None, self.heads.get("encoder"))

    @property
    def player_finder(self) -> PlayerFinder | None:
        """Tells which slots hold the player of a state, if that was learned."""
        return cast(PlayerFinder | None, self.heads.get("player_finder"))

    @property
    def road(self) -> Road | None:
        """Tells whether a dream still looks like real video, if that was measured."""
        return cast(Road | None, self.heads.get("road"))

    @property
    def controlled_slot(self) -> int | None:
        """The slot that the player mostly is, None where nobody knows: the decoder tells."""
        return None if self.decoder is None else int(self.decoder.controlled_slot)

    @property
    def action_shape(self) -> tuple[int, ...]:
        """Of the latent actions of one step in action units: (K, A), or (K,) codes."""
        return self.model.actions.shape if self.units is None else (self.model.actions.slots, self.units.dim)

    def fingerprint(self) -> str:
        """A short hash of all that decides its latent actions: equal if and only if two worlds label alike."""
        units = None if self.units is None else asdict(self.units)
        parts = [fingerprint(self.tokenizer), fingerprint(self.model), json.dumps(units, sort_keys=True)]
        if (kind := type(self.model).__name__) != "FactoredWorldModel":  # whose fingerprints are older than other kinds
            parts.append(kind)
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]
