"""Why a network says what it says: where it looks, and whether that can be believed."""
