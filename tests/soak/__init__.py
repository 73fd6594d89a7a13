"""Long runs: `scripts/soak` starts them; tests run short versions."""
