"""Files of all-MiniLM-L6-v2 in the folder `model`; `rankgate.encoders.find_minilm` finds them."""
