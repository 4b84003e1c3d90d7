"""Final answers: their notation, whether two are the same, and where they stand in a text."""
