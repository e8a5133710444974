"""Are the heatmaps right? A captioner of drawn shapes with known places, and how each method finds them."""
