"""How an upstream wants to be shown who is asking."""
