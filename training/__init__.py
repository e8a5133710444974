"""Training and evaluation of captioners on photos with captions."""
