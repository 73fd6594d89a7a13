"""Long trials of what must never go wrong; short ones of the same run as tests."""
