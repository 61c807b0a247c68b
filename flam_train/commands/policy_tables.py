"""`flam-train policy-tables`."""

from flam_train.commands.arguments import call
from flam_train.studies.policies.tables import policy_tables


def main(arguments: list[str]) -> None:
    """Calls `policy_tables` and prints what it returns."""
    print(call(policy_tables, arguments))
