raise ValueError("from the helper")
