"""How the numbers of a table were made, how two tables differ, and which causes explain it."""
