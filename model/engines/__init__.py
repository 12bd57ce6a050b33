"""What trains: `solo` defines the meaning, `cpu` and `gpu` train packs of members at hardware speed."""
