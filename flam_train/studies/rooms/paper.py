"""What the paper found in its experiments on MultiGrid, as it prints it."""

from typing import NamedTuple


class Found(NamedTuple):
    """A row of the paper's: what it is of, in which of its tables, and numbers by the names that findings have."""

    name: str
    source: str
    numbers: dict[str, str]


def _dci(disentanglement: str, completeness: str, informativeness: str) -> dict[str, str]:
    return {
        "disentanglement": disentanglement,
        "completeness": completeness,
        "informativeness": informativeness,
    }


RANDOM = {f"random_{name}": value for name, value in _dci("0.32", "0.30", "0.10").items()}

TABLES: dict[str, tuple[Found, ...]] = {
    "main": (
        Found("FLAM", "Tables 1, 2", {"psnr": "56.5", "recon": "56.5"} | _dci("0.91", "0.91", "0.93") | RANDOM),
        Found("PlaySlot", "Tables 1, 2", {"psnr": "56.5", "recon": "56.5"} | _dci("0.81", "0.81", "0.86") | RANDOM),
        Found("SlotFormer", "Tables 1, 2", {"psnr": "24.9", "recon": "56.5"} | _dci("0.85", "0.85", "0.90") | RANDOM),
    ),
    "slots": (
        Found("K = 2", "Table 3", {"slots": "2", "psnr": "53.4"}),
        Found("K = 4", "Table 3", {"slots": "4", "psnr": "56.5"}),
        Found("K = 8", "Table 3", {"slots": "8", "psnr": "56.5"}),
        Found("K = 16", "Table 3", {"slots": "16", "psnr": "56.5"}),
    ),
    "ablations": (
        Found("FLAM", "Tables 6, 7", {"psnr": "56.5"} | _dci("0.91", "0.91", "0.93") | RANDOM),
        Found("without temporal attention", "Tables 6, 7", {"psnr": "51.6"} | _dci("0.33", "0.23", "0.20") | RANDOM),
        Found("Global-Coupled", "Tables 6, 7", {"psnr": "56.3"} | _dci("0.79", "1.00", "0.58") | RANDOM),
    ),
    "beta": (
        Found("first β", "Table 8", {"psnr": "56.5"}),
        Found("second β", "Table 8", {"psnr": "56.5"}),
        Found("third β", "Table 8", {"psnr": "56.3"}),
        Found("fourth β", "Table 8", {"psnr": "24.9"}),
    ),
}
"""Rows of each experiment that the paper has a table of."""

STATEMENTS = {
    "slots": "Prediction is worse with fewer slots than agents, and the same for any K from four on (5.2).",
    "agents": "FLAM stays far better than one unfactored latent action as agents become more (Figure 4, a plot).",
    "tied": "The two agents that always act alike are in one slot (5.2, Figure 7, pictures).",
    "ablations": "Without temporal attention slots change their agents; coupled ones merge agents (C.4, Figure 9).",
    "beta": "FLAM is robust across a wide range of β (C.4).",
}
"""What the paper says in words, by experiment."""
