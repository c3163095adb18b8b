from circle_b import B

A = 1
