"""From a detector to a Space: the bundle that runs alone, and the hub that it is pushed to."""
