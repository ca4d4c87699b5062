"""What strongroom.toml says: its keys as data, the reader and the JSON Schema that follow from them."""
