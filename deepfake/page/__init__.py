"""The page: a visitor's picture -> what the model says of it, as words, colours and a heat map."""
