"""The measures of a simulator as they stand on a card: lines of Markdown, from the parts of a report."""

from collections.abc import Sequence
from typing import Any

PAIRED = {"own": "own slot", "identity": "identity (IDF1)"}
PLAIN = {"changed_inside": "changed pixels inside the steered slot's mask", "entities": "entities in a frame"}


def slot_lines(report: dict[str, Any]) -> list[str]:
    """What slots hold, beside the best of fixed tilings."""
    slots = report["slots"]
    rows = [
        (title, *(slots[f"{name}{part}"] for part in ("", "_of_tiles", "_above_tiles")))
        for name, title in PAIRED.items()
    ]
    rows += [(title, slots[name], "", "") for name, title in PLAIN.items() if name in slots]
    return _table(("entities in slots", "slots", "best tiling", "way from there to 1"), rows)


def velocity_lines(report: dict[str, Any]) -> list[str]:
    """What slots know of velocities."""
    velocity = report["velocity"].items()
    return _table(("velocity from slots", "value"), [(name.replace("_", " "), value) for name, value in velocity])


def realism_lines(report: dict[str, Any]) -> list[str]:
    """How well dreams are told from real video, and the controls."""
    realism = report["realism"]
    rows = [(steps_title(each), each["auc"], each["spread"]) for each in realism["stretches"]]
    controls = {"same": "control: real or real", "deleted": "control: real, or real with one thing deleted"}
    found = realism["controls"]
    rows += [(title, *found[name].values()) for name, title in controls.items() if found[name] is not None]
    rows.append(("controls hold", found["hold"], ""))
    return _table((f"real or dream ({realism['dreams']} dreams)", "AUC", "spread over networks"), rows)


def off_road_lines(report: dict[str, Any]) -> list[str]:
    """What the world's own sign says of the same dreams and of real video, beside the networks."""
    signs, told = report["off_road"], report["realism"]["stretches"]
    rows = [
        (steps_title(each), each["real"], each["dreamt"], each["auc"], networks["auc"])
        for each, networks in zip(signs["stretches"], told, strict=True)
    ]
    title = f"off the road ({signs['dreams']} dreams)"
    return _table((title, "real steps flagged", "dreamt steps flagged", "AUC of the sign", "of the networks"), rows)


def life_lines(report: dict[str, Any]) -> list[str]:
    """What goes on in dreams and in real video."""
    sides = ("real", "dreamt", "ratio", "real_spread", "dreamt_spread")
    rows = [
        (f"{steps_title(each)}: {name}", *(each[side][name] for side in sides))
        for each in report["life"]["stretches"]
        for name in each["real"]
    ]
    title = f"life ({report['life']['dreams']} dreams)"
    return _table((title, "real", "dreamt", "dreamt / real", "spread of real", "of dreamt"), rows)


def horizon_lines(report: dict[str, Any]) -> list[str]:
    """How long dreams hold."""
    found = report["dream_horizon"]
    rows = [("last step", found["last_step"])]
    rows += [(f"{steps_title(each)} hold", each["holds"]) for each in found["stretches"]]
    return _table((f"horizon ({found['dreams']} dreams)", "value"), rows)


def obedience_lines(report: dict[str, Any]) -> list[str]:
    """How often dreams do what keys ask for."""
    found = report["obedience"]
    columns = {
        "score": "score",
        "error": "its standard error",
        "obeyed": "right: judge on dreams",
        "judge_on_real": "on real video",
        "state_only": "state only",
    }
    title = f"obedience ({found['clips']} dreams, {_held(found)})"
    return [*_after_steps(title, found["after"], columns), "", *_key_lines(found["after"])]


def _key_lines(after: Sequence[dict[str, Any]]) -> list[str]:
    """How often dreams do what each key asks for, beside how often the judge reads it on real video."""
    columns = {"clips": "clips", "obeyed": "right on dreams", "judge_on_real": "right on real video"}
    titles = [f"after {each['step']}: {title}" for each in after for title in columns.values()]
    keys = sorted({key for each in after for key in each["keys"]}, key=int)
    rows = [(key, *(each["keys"].get(key, {}).get(name) for each in after for name in columns)) for key in keys]
    return _table(("obedience by key", *titles), rows)


def tracking_lines(report: dict[str, Any]) -> list[str]:
    """How far players are from where the same keys take them in the real game."""
    found = report["tracking"]
    columns = {
        "dream_px": "dream",
        "error_px": "its standard error",
        "still_px": "stands still",
        "steady_px": "keeps its velocity",
        "recon_px": "localisation error on Recon",
        "seen": "player seen in dreams",
    }
    title = f"tracking ({found['clips']} dreams, {_held(found)}): excess error, px"
    return _after_steps(title, found["after"], columns)


def shot_lines(report: dict[str, Any]) -> list[str]:
    """How often a shot appears when it is fired, and when not."""
    found = report["shots"]
    columns = {
        "fired": "fired",
        "shown": "shot in dreams",
        "error": "its standard error",
        "real": "shot on Recon",
        "others": "not fired",
        "unasked": "shot in dreams nonetheless",
        "unasked_real": "shot on Recon nonetheless",
    }
    named = [(f"after {each['step']}", each) for each in found["after"]]
    named += [("all steps", each) for each in found["all_steps"]]
    rows = [(f"{title}, within {each['within']}", *(each[name] for name in columns)) for title, each in named]
    return _table((f"shots ({found['clips']} dreams, {_held(found)})", *columns.values()), rows)


def _held(found: dict[str, Any]) -> str:
    held = found["held_keys"]
    return "keys not known to be held" if held is None else f"keys held for {held} steps"


def _after_steps(title: str, after: Sequence[dict[str, Any]], columns: dict[str, str]) -> list[str]:
    rows = [(f"after {each['step']}", *(each[name] for name in columns)) for each in after]
    return _table((title, *columns.values()), rows)


def continuous_lines(report: dict[str, Any]) -> list[str]:
    """What latent actions say of known actions that are real numbers."""
    found = report["continuous_actions"]
    rows = [
        (name, each["all_slots"], each["best_slot"], each["slot"], each["state"], each["spread"])
        for name, each in found["values"].items()
    ]
    title = f"R2 of linear probes ({found['transitions']} transitions)"
    return _table((title, "all slots", "best slot", "which", "slots of the frame before", "spread of the number"), rows)


def steps_title(stretch: dict[str, Any]) -> str:
    """How a stretch of a report is called: "steps 17-50"."""
    return "steps {}-{}".format(*stretch["steps"])


def cell(value: Any) -> str:
    """A value of a report in a table: "-" where it is not known."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    lines = [titles, ("---",) * len(titles), *(tuple(map(cell, row)) for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]
