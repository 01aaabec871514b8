"""How good a detector is: numbers and pictures from labels and scores."""
