"""The paper's controlled experiments on rooms whose truth is known (5.2, 5.4, C.1, C.2, C.4)."""
