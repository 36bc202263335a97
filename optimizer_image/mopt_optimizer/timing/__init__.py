"""How long calls take, measured side by side, and what disturbed them."""
