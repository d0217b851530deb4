"""Tasks that are learned from reward, and what runs them."""
