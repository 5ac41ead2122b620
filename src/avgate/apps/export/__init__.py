"""`avgate export`: a model as files that run without avgate, each checked beside the model that it came from."""
