"""PageANN: vector search in which the SSD page is the node of the graph."""
