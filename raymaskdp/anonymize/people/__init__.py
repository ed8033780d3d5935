"""Finding people: detection, tracking, masks, and the evidence that nobody was missed."""
