"""What a sweep asks for: YAML and presets into configs."""
