"""What can be trained, a file a stage."""
