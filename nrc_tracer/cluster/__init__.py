"""One image from many machines: partial renders for batch queues, and rendering on a Ray cluster."""
