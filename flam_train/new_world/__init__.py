"""From a store of any video to a world of one's own by one command: proposals, a plan, its steps, a card, advice."""
