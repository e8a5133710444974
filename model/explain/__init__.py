"""Where in the photo each word of a caption comes from. Start reading at `explainer`."""
