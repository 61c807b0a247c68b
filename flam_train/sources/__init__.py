"""Where episodes come from: simulators that are played, and videos."""
