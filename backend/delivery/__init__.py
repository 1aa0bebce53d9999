"""How each prediction reaches Label Studio, once."""
