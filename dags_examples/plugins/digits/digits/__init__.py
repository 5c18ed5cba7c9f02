"""Hand-written digits: prepare the data, train models on a Ray cluster, evaluate the best."""
