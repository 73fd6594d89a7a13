"""A simulator of the exchange: dtrain's own blocks and tree, on ranks that are not."""
