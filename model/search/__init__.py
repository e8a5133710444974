"""How captions are chosen from what the network says of each next word."""
