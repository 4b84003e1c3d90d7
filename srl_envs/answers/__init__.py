"""Final answers: their notation, whether two are the same, and where they are in a text."""
