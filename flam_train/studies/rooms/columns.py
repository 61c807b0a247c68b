"""The columns that tables of findings choose from."""

from flam_train.studies.tables import Column

RUN = Column("run", "run", "")

COLUMNS = {
    column.measure: column
    for column in (
        Column("agents", "agents", ".0f"),
        Column("K", "slots", ".0f"),
        Column("price of a nat", "price", "g"),
        Column("PSNR, dB (Recon)", "psnr", ".1f", "recon"),
        Column("gap, dB", "gap", ".1f"),
        Column("frames right", "frames_right", ".3f"),
        Column("own slot (agents)", "own_slot", ".3g", "agents"),
        Column("all have one", "all_own_slot", ".3f"),
        Column("D (Random)", "disentanglement", ".2f", "random_disentanglement"),
        Column("D, matched (Random)", "matched_disentanglement", ".2f", "random_matched_disentanglement"),
        Column("C (Random)", "completeness", ".2f", "random_completeness"),
        Column("I (Random)", "informativeness", ".2f", "random_informativeness"),
        Column("owner kept (match)", "owner_consistency", ".3f", "match_consistency"),
        Column("actions told (floor)", "action_accuracy", ".3f", "action_floor"),
        Column("heading known", "action_heading_known", ".3f"),
        Column("nats per agent", "nats_per_agent", ".2f"),
        Column("moves one agent", "moves_one_agent", ".3f"),
        Column("dreams whole (without laws)", "dreams_whole", ".3f", "dreams_whole_without_laws"),
        Column("tied pair in one slot", "tied_pair", ".3f"),
        Column("other pairs (chance)", "other_pairs", ".3f", "pair_chance"),
        Column("steps (minutes)", "steps", ".0f", "minutes"),
    )
}
"""By the measure that stands first in the cell."""

LEGEND = """\
Shares are of 1. Frames right: every agent is in its cell and looks its way, nothing else is there, in frames predicted
under inferred actions. Own slot: mean number of agents whose cell is owned by a slot that owns no other agent's; all
have one: share of the frames. D, C, I: disentanglement, completeness, informativeness, in parentheses those of random
slots under the same probe; matched: of slots that are matched with an agent. Owner kept: share of consecutive frames in
which every agent keeps the slot that owns its cell, in parentheses the slot that the probe matches it with. Actions
told: by a linear probe, of agents that are matched with a slot, in parentheses the share of the commonest; heading
known: by a probe for each heading, since that left of one heading is called what left of another is follows from no
pixel. Moves one agent: share of the changes of a slot's action with a visible effect in which all of it is within the
reach of one agent of the slot. Dreams whole: share of the frames, dreamt under sampled actions, that show every agent
once and clearly, in parentheses where no action is refused and any token is shown. Minutes are of training."""
