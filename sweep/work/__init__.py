"""What a worker does with the packs that it is given; both executors drive it."""
