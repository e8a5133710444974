"""Published weights of others, as files that training starts from."""
