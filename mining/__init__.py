"""What data preparation does: candidates, teachers, scores, and the data set made of them."""
