"""What trials are trained on: random words, the stream of sparse features, their embedding."""
